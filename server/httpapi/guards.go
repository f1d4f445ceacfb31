package httpapi

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi/auth"
	"github.com/molecule-ai/gatehouse/server/httpapi/respond"
)

// authenticate lets a request through if its bearer token belongs to one of roles. wire decides how an error
// looks, because the relay form speaks the registry's language.
func (s *Server) authenticate(wire respond.ErrorWriter, roles ...auth.Role) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if s.options.Authenticator.Open() {
				next.ServeHTTP(w, r)
				return
			}
			scheme, presented, _ := strings.Cut(r.Header.Get("Authorization"), " ")
			caller, known := s.options.Authenticator.Caller(presented)
			if !known || !strings.EqualFold(scheme, "Bearer") {
				wire(w, r, &admission.Error{Code: admission.CodeUnauthenticated, Detail: "a known bearer token is required"})
				return
			}
			if !slices.Contains(roles, caller.Role) {
				wire(w, r, &admission.Error{Code: admission.CodeForbidden, Detail: fmt.Sprintf("the role %s may not do this", caller.Role)})
				return
			}
			next.ServeHTTP(w, r.WithContext(auth.WithCaller(r.Context(), caller)))
		})
	}
}

// bounded refuses requests beyond MaxInFlight. A queue would not help: requests would spend their deadline waiting in it.
func (s *Server) bounded(wire respond.ErrorWriter) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case s.places <- struct{}{}:
				defer func() { <-s.places }()
				next.ServeHTTP(w, r)
			default:
				wire(w, r, &admission.Error{Code: admission.CodeOverloaded, Detail: "too many requests are being answered"})
			}
		})
	}
}

// rateLimited refuses a caller's requests beyond RateLimit in a second; 0 means no limit. All routes share one count, so that
// the relay form gives no second allowance.
func (s *Server) rateLimited(wire respond.ErrorWriter) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		if s.options.RateLimit == 0 {
			return next
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if s.rate.OnLimit(w, r, auth.CallerOf(r.Context()).Name) {
				wire(w, r, &admission.Error{Code: admission.CodeRateLimited, Detail: "more requests in a second than this caller may send"})
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// bodyDeadline gives every body the request's timeout to arrive, so that a slow client does not hold a place for longer. It
// holds for refused requests too, because net/http reads the rest of their bodies before it sends the answer.
func (s *Server) bodyDeadline(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.options.RequestTimeout))
			if err != nil {
				s.respond.Problem(w, r, fmt.Errorf("setting the read deadline: %w", err))
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}
