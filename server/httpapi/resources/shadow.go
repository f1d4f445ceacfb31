package resources

import (
	"context"
	"net/http"
	"time"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi/auth"
	"github.com/molecule-ai/gatehouse/server/httpapi/respond"
	"github.com/molecule-ai/gatehouse/server/shadow"
)

// ShadowStatus is the candidate of this server and what came of comparing it with the live policies, by all
// servers on the same store.
type ShadowStatus struct {
	Candidate *shadow.Candidate `json:"candidate"` // nil: none
	Refused   *PolicyRefusal    `json:"refused"`   // the candidate that was configured and is none
	Queued    int               `json:"queued"`    // reviews that wait for this server's candidate
	Summary   *shadow.Summary   `json:"summary"`   // nil without a candidate
}

// Promotion says which policies went live in place of which.
type Promotion struct {
	Revision string    `json:"revision"`
	Source   string    `json:"source"`
	Previous string    `json:"previous_revision"`
	At       time.Time `json:"at"`
}

// Shadow compares candidate policies with the live ones. Errors of Promote that a caller can mend are
// *admission.Error: no_candidate, or candidate_changed if there is another than the given revision, "" for any.
type Shadow interface {
	ShadowStatus(ctx context.Context, examples int) (ShadowStatus, error)
	Promote(ctx context.Context, revision, caller string) (Promotion, error)
}

const (
	defaultExamples = 5
	maxExamples     = 100
)

// ShadowPolicies serves the comparison of the candidate with what is live, and promotes the candidate.
type ShadowPolicies struct {
	Respond *respond.Responder
	Shadow  Shadow // nil: there is never a candidate
}

// Show serves GET /v1/policies/shadow?examples=.
func (p ShadowPolicies) Show(r *http.Request) (ShadowStatus, error) {
	q := queryOf(r)
	examples := q.number("examples", defaultExamples, 0, maxExamples)
	if q.err != nil || p.Shadow == nil {
		return ShadowStatus{}, q.err
	}
	status, err := p.Shadow.ShadowStatus(r.Context(), examples)
	return status, unreadable("divergences", err)
}

// Promote serves POST /v1/policies/promote. A body is optional; it names the revision that the caller means.
func (p ShadowPolicies) Promote(w http.ResponseWriter, r *http.Request) error {
	var wanted struct {
		Revision string `json:"revision"`
	}
	if r.ContentLength != 0 {
		err := p.Respond.DecodeStrict(w, r, p.Respond.Limits.Body, &wanted)
		if err != nil {
			return err
		}
	}
	if p.Shadow == nil {
		return &admission.Error{Code: admission.CodeNoCandidate, Detail: "this server has no candidate policies"}
	}
	promotion, err := p.Shadow.Promote(r.Context(), wanted.Revision, auth.CallerOf(r.Context()).Name)
	if err != nil {
		return err
	}
	p.Respond.JSON(w, r, http.StatusOK, promotion)
	return nil
}
