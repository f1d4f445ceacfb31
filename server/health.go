package server

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"gatehouse/server/admission"
)

// Check is one thing that must hold before requests can be answered.
type Check struct {
	Name  string
	Ready func(ctx context.Context) error
}

// readyTimeout is shorter than the second that probes usually wait.
const readyTimeout = 900 * time.Millisecond

type health struct {
	Status string `json:"status"`
}

// healthz says that the process answers. It looks at nothing else: a process whose database is away must not
// be restarted for it.
func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	s.write(w, r, http.StatusOK, health{Status: "alive"})
}

// readyz says whether reviews can be decided now. The error behind a failed check goes to the log alone,
// because this route needs no token.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) error {
	if s.draining.Load() {
		return &admission.Error{Code: admission.CodeNotReady, Detail: "shutting down"}
	}
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	for _, check := range s.options.Checks {
		err := check.Ready(ctx)
		if err != nil {
			return &admission.Error{Code: admission.CodeNotReady, Detail: fmt.Sprintf("not ready: %s", check.Name), Err: err}
		}
	}
	s.write(w, r, http.StatusOK, health{Status: "ready"})
	return nil
}
