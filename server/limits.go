package server

import (
	"net/http"
	"time"

	"github.com/go-chi/httprate"

	"gatehouse/server/admission"
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

// rateLimited refuses a caller's requests beyond the configured number in a second; 0 means no limit.
func (s *Server) rateLimited(wire func(http.ResponseWriter, *http.Request, error)) func(http.Handler) http.Handler {
	if s.options.RateLimit == 0 {
		return func(next http.Handler) http.Handler { return next }
	}
	return httprate.Limit(s.options.RateLimit, time.Second,
		httprate.WithKeyFuncs(func(r *http.Request) (string, error) { return callerOf(r.Context()).Name, nil }),
		httprate.WithLimitHandler(func(w http.ResponseWriter, r *http.Request) {
			wire(w, r, &admission.Error{Code: admission.CodeRateLimited, Detail: "more requests in a second than this caller may send"})
		}),
	)
}
