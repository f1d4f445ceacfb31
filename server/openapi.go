package server

import (
	_ "embed"
	"net/http"
	"strconv"
)

// openAPI describes every route. It is written by hand, and openapi_test.go holds it to what the routes do.
//
//go:embed openapi.json
var openAPI []byte

// serveOpenAPI serves GET /openapi.json. The document is the same everywhere and tells nothing of where it is
// served, so it needs no token.
func (s *Server) serveOpenAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(openAPI)))
	_, _ = w.Write(openAPI) // the client may have gone
}
