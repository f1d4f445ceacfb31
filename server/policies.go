package server

import (
	"net/http"
	"time"

	"gatehouse/server/admission"
)

// PolicyStatus is what is live, where it came from, and what was refused since.
type PolicyStatus struct {
	Revision   string           `json:"revision"`
	Source     string           `json:"source"`
	Since      time.Time        `json:"since"`
	AgeSeconds int64            `json:"age_seconds"`
	Hooks      []string         `json:"hooks"`
	Rules      []admission.Rule `json:"rules"`
	Refused    *PolicyRefusal   `json:"refused"`
}

// PolicyRefusal is the last set of policies that did not become live.
type PolicyRefusal struct {
	Source string    `json:"source"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
}

// policies serves GET /v1/policies: the catalogue of the live rules.
func (s *Server) policies(w http.ResponseWriter, r *http.Request) error {
	status := s.options.Policies.PolicyStatus()
	if status.Revision == "" {
		return &admission.Error{Code: admission.CodeNotReady, Detail: "no policies are active"}
	}
	s.write(w, r, http.StatusOK, status)
	return nil
}
