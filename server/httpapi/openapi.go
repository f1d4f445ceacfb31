package httpapi

import (
	_ "embed"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-chi/chi/v5"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// openAPI describes every route. It is written by hand, and openapi_test.go holds it to what the routes do.
//
//go:embed openapi.json
var openAPI []byte

// serveOpenAPI serves GET /openapi.json. The document is the same for every deployment and tells nothing about this one, so
// it needs no token.
func (s *Server) serveOpenAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(openAPI)))
	_, _ = w.Write(openAPI) // the client may have gone
}

// Route is one of the server's routes with the statuses that the document says it answers.
type Route struct {
	Pattern, Method string
	Statuses        []int
}

// Routes are those that this server has.
func (s *Server) Routes() ([]Route, error) {
	var document struct {
		Paths map[string]map[string]jsontext.Value `json:"paths"`
	}
	err := json.Unmarshal(openAPI, &document)
	if err != nil {
		return nil, fmt.Errorf("reading the OpenAPI document: %w", err)
	}
	var routes []Route
	routed, _ := s.routes.(chi.Routes) // router made it one
	err = chi.Walk(routed, func(method, pattern string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		statuses, err := documentedStatuses(document.Paths[pattern][strings.ToLower(method)])
		routes = append(routes, Route{Pattern: pattern, Method: method, Statuses: statuses})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the OpenAPI document: %w", err)
	}
	return routes, nil
}

// documentedStatuses reads those of an operation. Of a range, such as 4XX, it gives the first.
func documentedStatuses(text jsontext.Value) ([]int, error) {
	var operation struct {
		Responses map[string]struct{} `json:"responses"`
	}
	err := json.Unmarshal(text, &operation)
	if err != nil {
		return nil, err
	}
	statuses := make([]int, 0, len(operation.Responses))
	for text := range operation.Responses {
		status, err := strconv.Atoi(strings.ReplaceAll(text, "XX", "00"))
		if err != nil {
			return nil, err
		}
		statuses = append(statuses, status)
	}
	return statuses, nil
}
