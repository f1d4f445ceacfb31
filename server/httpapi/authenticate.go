package httpapi

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

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
