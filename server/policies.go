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
	Bundle     *PolicyBundle    `json:"bundle"`      // nil when they came in no bundle
	Confirmed  time.Time        `json:"confirmed"`   // when they were last known to be what their source has
	Stale      bool             `json:"stale"`       // since then the source could not be asked, or what it has was refused
	Unreached  *PolicyRefusal   `json:"unreachable"` // why the source cannot be asked, and since when
	DryRun     bool             `json:"dry_run"`     // the server answers every deny as an allow with warnings
}

// PolicyBundle is what the live bundle says of itself.
type PolicyBundle struct {
	Revision string     `json:"revision"`
	BuiltAt  *time.Time `json:"built_at"`  // nil when it does not say
	SignedBy string     `json:"signed_by"` // fingerprint of the key that verified it; "" when none did
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
	status.DryRun = s.options.DryRun
	s.write(w, r, http.StatusOK, status)
	return nil
}
