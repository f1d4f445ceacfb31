//go:build linux

package compare

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// ServeBare is the ceiling: a handler of net/http that reads the same body into a struct and writes an answer of the
// same form, and decides nothing.
func ServeBare(ctx context.Context, address string) error {
	type violation struct {
		Rule, Code, Reason, Message string
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /v1/evaluate", func(w http.ResponseWriter, r *http.Request) {
		var asked struct {
			Hook   string `json:"hook"`
			Review struct {
				Workspace map[string]any `json:"workspace"`
			} `json:"review"`
			Facts admission.Facts `json:"facts"`
		}
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(body, &asked)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		text, err := json.Marshal(struct {
			Allowed    bool        `json:"allowed"`
			Violations []violation `json:"violations"`
			Revision   string      `json:"policy_revision"`
		}{Allowed: asked.Facts.Exists, Revision: asked.Hook})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		_, _ = w.Write(text)
	})
	server := &http.Server{Addr: address, Handler: mux, ReadHeaderTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	err := server.ListenAndServe()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
