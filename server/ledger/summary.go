package ledger

import (
	"time"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// Summary is what the decisions of a filter said, for whoever thinks of turning a rule on or off.
type Summary struct {
	Decisions int64         `json:"decisions"`
	Allowed   int64         `json:"allowed"`
	Denied    int64         `json:"denied"`
	Failed    int64         `json:"failed"` // answered with an error
	Codes     []CodeSummary `json:"codes"`  // those that would deny most first; then by code, hook and enforcement
}

// CodeSummary is of the decisions of one hook in which a violation of one code and enforcement is.
type CodeSummary struct {
	Code        string                `json:"code"`
	Hook        string                `json:"hook"`
	Enforcement admission.Enforcement `json:"enforcement"`
	Decisions   int64                 `json:"decisions"`
	// WouldDeny are those of them that were allowed: with enforcement deny this code would have denied them.
	WouldDeny  int64     `json:"would_deny"`
	Workspaces int64     `json:"workspaces"` // different ones, of Decisions
	Last       time.Time `json:"last"`
	Example    uuid.UUID `json:"example"` // the newest of Decisions
}
