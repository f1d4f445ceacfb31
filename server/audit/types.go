package audit

import (
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// StoredWorkspace is a workspace as a store lists it.
type StoredWorkspace struct {
	ID    uuid.UUID
	Facts admission.Facts // Exists is false where the stored facts are bad
}

// State says where a run of the audit is.
type State string

// A run is running until it has seen every workspace. An interrupted run stays running, and is resumed where it stopped.
const (
	Running   State = "running"
	Finished  State = "finished"
	Abandoned State = "abandoned" // what its verdicts depend on changed before it could go on
)

// NotJudged is a rule that an audit cannot judge, at least in part: it reads members that only a request has. That a stored
// workspace lacks them says nothing.
type NotJudged struct {
	Rule  string   `json:"rule"`
	Code  string   `json:"code"`
	Reads []string `json:"reads"` // such as input.request.agent_card
}

// Run is one look at every stored workspace with one revision of the policies, one deployment and one query for
// facts.
type Run struct {
	ID            uuid.UUID             `json:"id"` // version 7: ordered by time
	Hook          string                `json:"hook"`
	State         State                 `json:"state"`
	Enforce       bool                  `json:"enforce"` // what would be denied was denied
	Revision      string                `json:"policy_revision"`
	Candidate     bool                  `json:"candidate"`      // its policies were not live when it was last begun or gone on with
	Deployment    *admission.Deployment `json:"deployment"`     // nil if it was not kept, as of runs of earlier versions
	FactsRevision string                `json:"facts_revision"` // of the query for facts, "" if it was not kept
	StartedAt     time.Time             `json:"started_at"`
	UpdatedAt     time.Time             `json:"updated_at"`
	FinishedAt    *time.Time            `json:"finished_at"`
	Worked        time.Duration         `json:"-"`          // without the time in which it was interrupted
	Cursor        uuid.UUID             `json:"-"`          // the last workspace that it has seen
	Evaluated     int64                 `json:"evaluated"`  // workspaces
	Denied        int64                 `json:"denied"`     // would be, or with Enforce were
	Warned        int64                 `json:"warned"`     // not denied, and not without violations
	Failed        int64                 `json:"failed"`     // gave no verdict, or could not be denied
	Marked        int64                 `json:"marked"`     // failed, by this run
	Violations    map[string]int64      `json:"violations"` // workspaces by code, of violations of all enforcements
	NotJudged     []NotJudged           `json:"not_judged"` // rules that were left out, and never enforced
}

// FactsRevision names a query for facts by what it says.
func FactsRevision(query string) string {
	return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(query)))[:len("sha256:")+16]
}

// Finding is one workspace that a run has something to say of.
type Finding struct {
	RunID       uuid.UUID             `json:"run_id"`
	WorkspaceID uuid.UUID             `json:"workspace_id"`
	Kind        string                `json:"kind"`
	Status      string                `json:"status"` // as stored when it was looked at
	Denied      bool                  `json:"denied"`
	Code        string                `json:"code"` // of the denying violation; else of the first
	Violations  []admission.Violation `json:"violations"`
	Error       admission.Code        `json:"error,omitempty"` // why there is no verdict, or why it was not enforced
	Marked      bool                  `json:"marked"`
	DecisionID  uuid.UUID             `json:"decision_id,omitzero"` // of the deny, Nil if nothing was enforced
}

// Query asks for one page of findings of a run, in order of their workspaces.
type Query struct {
	RunID uuid.UUID
	Code  string    // only findings with a violation of this code that is their Code; "" for all
	After uuid.UUID // the last workspace of the page before, Nil for the first page
	Limit int       // at least 1
}
