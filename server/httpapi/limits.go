package httpapi

import (
	"net/http"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// bounded refuses what comes while max requests are being answered: a queue would only move their deadlines
// into the wait.
func (s *Server) bounded(wire func(http.ResponseWriter, *http.Request, error)) func(http.Handler) http.Handler {
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
func (s *Server) rateLimited(wire func(http.ResponseWriter, *http.Request, error)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		if s.options.RateLimit == 0 {
			return next
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if s.rate.OnLimit(w, r, callerOf(r.Context()).Name) {
				wire(w, r, &admission.Error{Code: admission.CodeRateLimited, Detail: "more requests in a second than this caller may send"})
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}
