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

// healthz says that the process answers. It checks nothing else: a process must not be restarted because its database is
// away.
func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	s.respond.JSON(w, r, http.StatusOK, health{Status: "alive"})
}

// readyz says whether reviews can be decided now. The cause of a failure was logged where it was found; this route is asked
// every few seconds and logs nothing.
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
