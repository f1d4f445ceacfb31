package resources

import (
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// DecisionRecord is a recorded decision as JSON, here and on the command line.
type DecisionRecord struct {
	ID             uuid.UUID             `json:"id"`
	UID            string                `json:"uid"` // "" if the caller gave none
	Time           time.Time             `json:"time"`
	Hook           string                `json:"hook"`
	Caller         string                `json:"caller"` // "" if callers were not authenticated
	CallerProof    admission.CallerProof `json:"caller_proof"`
	RequestID      string                `json:"request_id"`  // "" if there was no request, as in an audit
	TraceParent    string                `json:"traceparent"` // "" if the caller gave none
	WorkspaceID    uuid.UUID             `json:"workspace_id"`
	Kind           string                `json:"kind"`
	DryRun         bool                  `json:"dry_run"` // of a server that enforces nothing: answered as an allow
	Allowed        *bool                 `json:"allowed"` // null where an error was answered
	Code           string                `json:"code"`    // of the deny or of the error, "" for an allow
	Violations     []admission.Violation `json:"violations"`
	MarkedFailed   bool                  `json:"marked_failed"`
	Event          *admission.Event      `json:"event"`
	PolicyRevision string                `json:"policy_revision"`
	Timings        DecisionTimings       `json:"timings"`
	Error          *admission.Failure    `json:"error"`
	Input          jsontext.Value        `json:"input,omitzero"` // left out unless it is asked for
	Erased         []string              `json:"erased"`         // pointers of what the input lacks
	Masked         []string              `json:"masked"`         // pointers of what is in it in another form
}

// DecisionTimings are the stages before the record was written, in whole microseconds.
type DecisionTimings struct {
	Facts  int64 `json:"facts_us"`
	Policy int64 `json:"policy_us"`
}

// NewDecisionRecord shows a decision, with or without its input.
func NewDecisionRecord(d *admission.Decision, withInput bool) DecisionRecord {
	r := DecisionRecord{
		ID: d.ID, UID: d.UID, Time: d.At.UTC(), Hook: d.Hook, Caller: d.Caller, CallerProof: d.CallerProof,
		RequestID: d.Trace.RequestID, TraceParent: d.Trace.Parent, WorkspaceID: d.WorkspaceID, Kind: d.Kind, DryRun: d.DryRun, Code: d.Code(), Violations: d.Verdict.Violations,
		MarkedFailed: d.MarkedFailed, Event: d.Event, PolicyRevision: d.Verdict.Revision,
		Timings: DecisionTimings{d.Timings.Facts.Microseconds(), d.Timings.Policy.Microseconds()},
		Error:   d.Failed, Erased: d.Redaction.Erased, Masked: d.Redaction.Masked,
	}
	if d.Failed == nil {
		r.Allowed = new(d.Verdict.Allowed())
	}
	if withInput {
		r.Input = d.Input
	}
	return r
}
