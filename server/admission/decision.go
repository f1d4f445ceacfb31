package admission

import (
	"crypto/sha256"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

// ProvisionFailed is the registry's own event of a workspace that was marked failed.
const ProvisionFailed = "WORKSPACE_PROVISION_FAILED"

// Decision is the answer to one review and the record of it.
type Decision struct {
	ID           uuid.UUID // version 7: ordered by time
	At           time.Time // UTC, whole microseconds, as every store keeps it
	UID          string
	Digest       [sha256.Size]byte // of the review's body; compared when a uid comes again
	Hook         string
	Caller       string
	CallerProof  CallerProof
	Trace        Trace
	WorkspaceID  uuid.UUID
	Kind         string         // "platform", "workspace" or "other"
	DryRun       bool           // had no effect, because the review or the server was a dry run
	Unenforced   bool           // by a server that runs dry: recorded, and answered as an allow
	Input        jsontext.Value // as evaluated, but for Redaction
	Redaction    Redaction
	Verdict      Verdict  // none if Failed is set, and then no answer either
	Failed       *Failure // nil for an answer
	MarkedFailed bool     // this request marked the workspace failed
	Event        *Event   // what this request announced, nil if nothing
	Timings      Timings
}

// RequestKey is what a request that comes again is recognised by. A uid belongs to the caller that gave it: another
// caller's of the same spelling is another request.
type RequestKey struct{ Caller, UID string }

// RequestKey has no uid where the request had none.
func (d *Decision) RequestKey() RequestKey { return RequestKey{Caller: d.Caller, UID: d.UID} }

// Timings are the stages before the record is written.
type Timings struct {
	Facts  time.Duration `json:"facts"`
	Policy time.Duration `json:"policy"`
}

// Event is the registry's own message of something that happened to a workspace, as it goes over Redis, in
// the answer and, its payload alone, into structure_events.
type Event struct {
	ID         uuid.UUID `json:"-"` // the same for every subscriber and every attempt
	DecisionID uuid.UUID `json:"-"`
	Hook       string    `json:"-"`
	// Sequence counts the events of one workspace from 1, in the order of their marks. The ledger gives it; it
	// is 0 before, and in the event of a recorded answer.
	Sequence int64 `json:"-"`

	Event       string       `json:"event"`
	WorkspaceID uuid.UUID    `json:"workspace_id"`
	Timestamp   time.Time    `json:"timestamp"`
	Payload     EventPayload `json:"payload"`
}

// EventPayload is what the registry's canvas shows: Error is the same sentence as last_sample_error.
type EventPayload struct {
	Error  string `json:"error"`
	Code   string `json:"code"`
	Reason string `json:"reason"`
}

// Code is that of the violation that denied or of the error that was answered, "" for an allow.
func (d *Decision) Code() string {
	if d.Failed != nil {
		return string(d.Failed.Code)
	}
	if denying := d.Verdict.Denying(); denying != nil {
		return denying.Code
	}
	return ""
}

// Answered is the verdict as the caller hears it; what is recorded, counted and logged is Verdict, the true one.
func (d Decision) Answered() Verdict {
	if d.Unenforced {
		return d.Verdict.Lenient()
	}
	return d.Verdict
}

// Mark makes d the decision that marks its workspace failed. Ledgers call it inside their transaction, once
// they know that the row is to be marked.
func (d *Decision) Mark() error {
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	cause := d.Verdict.Marking()
	d.MarkedFailed = true
	d.Event = &Event{
		ID: id, DecisionID: d.ID, Hook: d.Hook, Event: ProvisionFailed, WorkspaceID: d.WorkspaceID, Timestamp: d.At,
		Payload: EventPayload{Error: cause.Message, Code: cause.Code, Reason: cause.Reason},
	}
	return nil
}

// protected are the statuses that a mark must not overwrite: a removed workspace stays removed, and one is paused or
// hibernated on purpose.
var protected = map[string]bool{"removed": true, "paused": true, "hibernated": true}

// ShouldMark says whether a stored row of this status and last error is to be marked failed for cause. A row
// that already failed for the same reason is not: a crash-looping agent registers every few seconds.
func ShouldMark(status, lastError string, cause *Violation) bool {
	if cause == nil || protected[status] {
		return false
	}
	return status != "failed" || lastError != cause.Message
}

// WouldMark says whether a review with this verdict and effects would mark the stored workspace failed.
func (f Facts) WouldMark(v Verdict) bool {
	cause := v.Marking()
	if cause == nil || !f.Exists { // as for nearly all: the row need not be read
		return false
	}
	var row struct {
		Status    any `json:"status"`
		LastError any `json:"last_sample_error"`
	}
	if json.Unmarshal(f.Workspace, &row) != nil {
		return false
	}
	status, _ := row.Status.(string)
	lastError, _ := row.LastError.(string)
	return ShouldMark(status, lastError, cause)
}

// KindLabel bounds the kind of a workspace for metrics and records. A request that claims platform counts as
// platform, because the rules treat it so.
func KindLabel(requested, stored string) string {
	const platform, workspace = "platform", "workspace"
	switch {
	case requested == platform || stored == platform:
		return platform
	case requested == workspace, requested == "" && (stored == workspace || stored == ""):
		return workspace
	default:
		return "other"
	}
}
