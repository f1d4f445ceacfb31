package httpapi

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-chi/chi/v5"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi/respond"
)

// query is what a route takes in its URL after the question mark.
type query struct {
	once     []string // at most once: of two values, one would have to be chosen
	repeated []string // any number of times, for any of these
}

// decisionFilterNames are what selects decisions.
var decisionFilterNames = []string{"hook", "allowed", "failed", "code", "workspace_id", "uid", "since", "until"}

// queries are those of the routes that take one. A test compares them with the OpenAPI document.
var queries = map[string]query{
	"/v1/policies/shadow":      {once: []string{"examples"}},
	"/v1/announcements":        {once: []string{"sink", "state", "cursor", "limit"}},
	"/v1/decisions":            {once: slices.Concat(decisionFilterNames, []string{"input", "cursor", "limit"})},
	"/v1/decisions/summary":    {once: []string{"hook", "since", "until"}},
	"/v1/decisions/stream":     {once: slices.Concat(decisionFilterNames, []string{"input", "last_event_id"})},
	"/v1/audits/{id}/findings": {once: []string{"code", "cursor", "limit"}},
	"/v1/events/stream":        {once: []string{"workspace_id", "last_event_id"}, repeated: []string{"code"}},
}

// queried refuses query parameters that the route does not take. A filter with a misspelt name would be ignored, and its
// caller would take the unfiltered answer for the filtered one. wire decides how an error looks.
func (s *Server) queried(wire respond.ErrorWriter) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.RawQuery != "" {
				err := queries[chi.RouteContext(r.Context()).RoutePattern()].check(r.URL.RawQuery)
				if err != nil {
					wire(w, r, err)
					return
				}
			}
			next.ServeHTTP(w, r)
		})
	}
}

func (q query) check(raw string) error {
	given, err := url.ParseQuery(raw)
	if err != nil { // url.URL.Query leaves out what it cannot read
		return admission.Malformed("the query is not one: a % or a ; in it is not escaped")
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		switch values := given[name]; {
		case slices.Contains(q.repeated, name):
		case !slices.Contains(q.once, name):
			return admission.Malformed(fmt.Sprintf("unknown query parameter %s; %s", quoteName(name), q))
		case len(values) > 1:
			return admission.Malformed(fmt.Sprintf("the query parameter %s is given %d times", quoteName(name), len(values)))
		}
		// A script whose variable is empty does not want everything. A cursor is empty on the first page.
		if slices.Contains(given[name], "") && name != "cursor" && name != "last_event_id" {
			return admission.Malformed(fmt.Sprintf("the query parameter %s is empty", quoteName(name)))
		}
	}
	return nil
}

func (q query) String() string {
	names := slices.Concat(q.once, q.repeated)
	if len(names) == 0 {
		return "this request takes none"
	}
	return "this request takes " + strings.Join(names, ", ")
}

// quoteName shows a name that a caller made up, cut to a useful length.
func quoteName(name string) string {
	const most = 64
	if len(name) > most {
		return strconv.QuoteToASCII(strings.ToValidUTF8(name[:most], "")) + "…"
	}
	return strconv.QuoteToASCII(name)
}
