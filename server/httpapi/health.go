package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi/respond"
)

// readyTimeout is shorter than the second that probes usually wait.
const readyTimeout = 900 * time.Millisecond

type health struct {
	Status string `json:"status"`
}

// healthz says that the process answers. It looks at nothing else: a process whose database is away must not
// be restarted for it.
func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	s.respond.JSON(w, r, http.StatusOK, health{Status: "alive"})
}

// readyz says whether reviews can be decided now. What keeps them from it has been logged where it was found, because
// this route is asked every few seconds.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) error {
	if s.draining.Load() {
		return respond.Logged(&admission.Error{Code: admission.CodeNotReady, Detail: "shutting down"})
	}
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	err := s.options.Ready(ctx)
	if err != nil {
		return respond.Logged(err)
	}
	s.respond.JSON(w, r, http.StatusOK, health{Status: "ready"})
	return nil
}
