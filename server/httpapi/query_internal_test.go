package httpapi

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi/auth"
	"github.com/molecule-ai/gatehouse/server/httpapi/resources"
	"github.com/molecule-ai/gatehouse/server/httpapi/sse"
	"github.com/molecule-ai/gatehouse/server/replay"
)

type unobserved struct{}

func (unobserved) Served(string, string, int, time.Duration) {}

// everyRoute is a server with every route that there can be, and nothing behind them.
func everyRoute() *Server {
	return New(Options{
		Metrics: http.NotFoundHandler(), MaxInFlight: 1, Events: struct{ sse.Source[admission.Event] }{},
		Decisions: struct{ resources.DecisionReader }{}, DecisionStream: struct{ sse.Source[admission.Decision] }{},
		Audits: struct{ resources.AuditReader }{}, Replays: resources.ReplayOptions{RunsOptions: replay.RunsOptions{Records: struct{ replay.Source }{}}},
		Authenticator: &auth.Authenticator{}, Observer: unobserved{}, Logger: slog.New(slog.DiscardHandler), RequestTimeout: time.Minute,
	})
}

// eachRoute calls do with every method and pattern.
func eachRoute(t *testing.T, s *Server, do func(method, route string)) {
	t.Helper()
	err := chi.Walk(s.routes.(chi.Routes), func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		do(method, route)
		return nil
	})
	require.NoError(t, err)
}

// ask sends a query to a route and gives what it was told, whichever the words.
func ask(t *testing.T, s *Server, method, route, query string) (status int, told string) {
	t.Helper()
	path := regexp.MustCompile(`\{\w+\}`).ReplaceAllString(route, "01890a5d-ac96-774b-bcce-b302099a8057")
	answered := httptest.NewRecorder()
	s.ServeHTTP(answered, httptest.NewRequestWithContext(t.Context(), method, path+"?"+query, nil))
	body, err := io.ReadAll(answered.Body)
	require.NoError(t, err)
	var said struct {
		Detail string `json:"detail"`
		Error  string `json:"error"`
		Code   string `json:"code"`
	}
	require.NoError(t, json.Unmarshal(body, &said), "%s %s: %s", method, path, body)
	require.Equal(t, string(admission.CodeMalformedRequest), said.Code, "%s %s: %s", method, path, body)
	return answered.Code, said.Detail + said.Error
}

// Probes and scrapers add queries of their own. They must not be refused.
func TestHealthAndMetricsIgnoreQueries(t *testing.T) {
	s := everyRoute()
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/openapi.json"} {
		answered := httptest.NewRecorder()
		s.ServeHTTP(answered, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path+"?probe=1", nil))
		require.NotEqual(t, http.StatusBadRequest, answered.Code, path)
	}
}

// Every other route refuses query parameters that it does not know.
func TestQueryRefusesUnknownParametersOnEveryRoute(t *testing.T) {
	s := everyRoute()
	routes := 0
	eachRoute(t, s, func(method, route string) {
		if slices.Contains([]string{"/healthz", "/readyz", "/metrics", "/openapi.json"}, route) {
			return // they depend on no query
		}
		routes++
		names := []string{"nonsense", "Limit", "workspace", "\u017fink"}
		if route == "/v1/admission/{hook}" {
			names = append(names, "dry_run") // the body's
		}
		for _, name := range names {
			status, told := ask(t, s, method, route, name+"=1")
			require.Equal(t, 400, status, "%s %s", method, route)
			require.Contains(t, told, "unknown query parameter "+quoteName(name), "%s %s", method, route)
			for _, known := range slices.Concat(queries[route].once, queries[route].repeated) {
				require.Contains(t, told, known)
			}
		}
	})
	require.Greater(t, routes, 20)
}

func TestQueryRefusesAmbiguousParameters(t *testing.T) {
	s := everyRoute()
	for route, takes := range queries {
		for _, name := range takes.once {
			status, told := ask(t, s, http.MethodGet, route, name+"=a&"+name+"=b")
			require.Equal(t, 400, status)
			require.Contains(t, told, `"`+name+`" is given 2 times`, route)
		}
		for _, name := range slices.Concat(takes.once, takes.repeated) {
			if name == "cursor" || name == "last_event_id" {
				continue
			}
			status, told := ask(t, s, http.MethodGet, route, name+"=")
			require.Equal(t, 400, status)
			require.Contains(t, told, `"`+name+`" is empty`, route)
		}
	}
	for _, unreadable := range []string{"workspace_id=%zz", "code=A;workspace_id=1", "%=1"} {
		status, told := ask(t, s, http.MethodGet, "/v1/events/stream", unreadable)
		require.Equal(t, 400, status)
		require.Contains(t, told, "the query is not one", unreadable)
	}
	require.NoError(t, queries["/v1/events/stream"].check("code=A&code=B&last_event_id="))
}

func TestQueryErrorsRepeatNoValue(t *testing.T) {
	s := everyRoute()
	long := strings.Repeat("n", 5000)
	for _, query := range []string{"a=planted-secret", "state=planted-secret&state=planted-secret", long + "=planted-secret", "%=planted-secret"} {
		_, told := ask(t, s, http.MethodGet, "/v1/announcements", query)
		require.NotContains(t, told, "planted")
		require.Less(t, len(told), 300)
	}
}

// The query parameters of each route are those of the OpenAPI document.
func TestQueriesMatchOpenAPI(t *testing.T) {
	d := readDocument(t)
	documented := make(map[string]query)
	for name, operation := range d.operations(t) {
		_, route, _ := strings.Cut(name, " ")
		var takes query
		for _, parameter := range operation.Parameters {
			if reference, isComponent := strings.CutPrefix(parameter.Ref, "#/components/parameters/"); isComponent {
				parameter = d.Components.Parameters[reference]
			}
			var schema struct {
				Type string `json:"type"`
			}
			require.NoError(t, json.Unmarshal(parameter.Schema, &schema))
			switch {
			case parameter.In != "query":
			case schema.Type == "array":
				takes.repeated = append(takes.repeated, parameter.Name)
			default:
				takes.once = append(takes.once, parameter.Name)
			}
		}
		if len(takes.once)+len(takes.repeated) > 0 {
			documented[route] = takes
		}
	}
	require.Len(t, queries, len(documented))
	for route, takes := range documented {
		require.ElementsMatch(t, takes.once, queries[route].once, route)
		require.ElementsMatch(t, takes.repeated, queries[route].repeated, route)
	}
}
