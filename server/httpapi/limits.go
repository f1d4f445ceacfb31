package httpapi

import (
	"fmt"
	"net/http"
	"time"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi/auth"
	"github.com/molecule-ai/gatehouse/server/httpapi/respond"
)

// bounded refuses what comes while max requests are being answered: a queue would only move their deadlines
// into the wait.
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

// rateLimited refuses a caller's requests beyond the configured number in a second; 0 means no limit. The count
// is one for all routes, so that the relay form is no second helping.
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

// bodyDeadline gives every body the request's timeout to arrive: a client that sends slowly must not hold a
// place longer than one that is decided slowly. It holds for refused requests too, because net/http reads what
// is left of their bodies before it sends the answer.
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
