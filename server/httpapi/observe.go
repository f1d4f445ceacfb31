package httpapi

import (
	"errors"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/molecule-ai/gatehouse/server/httpapi/respond"
)

const noRoute = "none" // the label of a request that no route matches

// observed tells the observer of every request by its route's pattern, which bounds the label.
func (s *Server) observed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start, ctx := time.Now(), r.Context()
		wrapped := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
		defer func() {
			route := chi.RouteContext(ctx).RoutePattern()
			if route == "" {
				route = noRoute
			}
			s.options.Observer.Served(route, respond.MethodLabel(r.Method), wrapped.Status(), time.Since(start))
		}()
		next.ServeHTTP(wrapped, r)
	})
}

// recovered answers a panic as an internal error: it costs one request and is never an allow.
func (s *Server) recovered(wire respond.ErrorWriter) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() {
				cause := recover()
				if cause == nil {
					return
				}
				if err, isError := cause.(error); isError && errors.Is(err, http.ErrAbortHandler) {
					panic(cause)
				}
				wire(w, r, s.respond.Panicked(r.Context(), respond.Trace(r), cause))
			}()
			next.ServeHTTP(w, r)
		})
	}
}
