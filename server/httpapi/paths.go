package httpapi

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/go-chi/chi/v5"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi/respond"
)

// byDecodedPath makes the router see every path in one spelling. A client may escape any character: the hook of
// "/v1/admission/%72egister" is register. An escaped slash stays escaped and separates nothing.
func byDecodedPath(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		chi.RouteContext(r.Context()).RoutePath = canonicalPath(r.URL)
		next.ServeHTTP(w, r)
	})
}

// canonicalPath escapes each segment of a path in the same way. respond.PathValue undoes it.
func canonicalPath(u *url.URL) string {
	if u.RawPath == "" && !strings.Contains(u.Path, "%") {
		return u.Path
	}
	segments := strings.Split(u.EscapedPath(), "/")
	for i, segment := range segments {
		text, err := url.PathUnescape(segment)
		if err == nil { // net/http refuses a path with an escape that is none
			segments[i] = url.PathEscape(text)
		}
	}
	return strings.Join(segments, "/")
}

// routePath is the path that the router has matched, or has found no route for.
func routePath(r *http.Request) string { return chi.RouteContext(r.Context()).RoutePath }

// hookOf is the hook that the path names. If it is not text, no policy defines it.
func hookOf(r *http.Request) (string, error) {
	hook, err := respond.PathValue(r, "hook")
	if err != nil {
		return "", &admission.Error{Code: admission.CodeUnknownHook, Detail: "no policy defines this hook", Err: err}
	}
	return hook, nil
}

// allowed are the methods that a path has. A path with GET has HEAD too.
func allowed(routes chi.Routes, path string) []string {
	var methods []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		if !routes.Match(chi.NewRouteContext(), method, path) {
			continue
		}
		methods = append(methods, method)
		if method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
	}
	return methods
}

func noSuchPath(http.ResponseWriter, *http.Request) error {
	return &admission.Error{Code: admission.CodeNotFound, Detail: "no such path"}
}

// noSuchMethod also answers methods that the router does not know, whatever their path.
func noSuchMethod(routes chi.Routes) respond.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		methods := allowed(routes, routePath(r))
		if len(methods) == 0 {
			return noSuchPath(w, r)
		}
		w.Header().Set("Allow", strings.Join(methods, ", "))
		return &admission.Error{Code: admission.CodeMethodNotAllowed, Detail: "this path has no such method"}
	}
}
