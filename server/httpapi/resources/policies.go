package resources

import (
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// PolicyCatalogue tells what policies are live.
type PolicyCatalogue interface {
	PolicyStatus() PolicyStatus
}

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
	// Weaker lists where they are weaker than the shipped policies.
	Weaker []admission.Weakness `json:"weaker_than_shipped"`
	// Remarks tell an author what of the policies is ignored, unused or skipped.
	Remarks []string `json:"remarks"`
	DryRun  bool     `json:"dry_run"` // the server answers every deny as an allow with warnings

	Evaluator    string              `json:"evaluator"`    // fast-path or opa
	Disagreement *PolicyDisagreement `json:"disagreement"` // why the fast path is off, if it was wrong; else nil
}

// PolicyDisagreement is a live decision on which OPA said otherwise than the fast path.
type PolicyDisagreement struct {
	At         time.Time `json:"at"`
	DecisionID uuid.UUID `json:"decision_id"`
	Rules      []string  `json:"rules"` // whose entries were not the same; empty if OPA gave an error
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

// Policies serves what is live.
type Policies struct {
	Catalogue PolicyCatalogue
	DryRun    bool // the server enforces nothing
}

// Show serves GET /v1/policies: the catalogue of the live rules.
func (p Policies) Show(*http.Request) (PolicyStatus, error) {
	status := p.Catalogue.PolicyStatus()
	if status.Revision == "" {
		return PolicyStatus{}, &admission.Error{Code: admission.CodeNotReady, Detail: "no policies are active"}
	}
	status.DryRun = p.DryRun
	return status, nil
}
