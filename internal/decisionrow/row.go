// Package decisionrow describes a recorded decision as both stores keep it: the values of its columns, and the conditions
// of a filter on them. How a database takes a value or reads one is the store's own.
package decisionrow

import (
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// Columns are what a store reads of decisions d. Redactions follow, which the stores keep differently.
const Columns = `
    d.id, d.seq, d.decided_at, coalesce(d.uid, ''), d.hook, d.caller, d.caller_proof, d.workspace_id, d.kind,
    d.policy_revision, d.marked_failed, d.dry_run, d.error_code, d.error_detail, d.violations, d.event_id, d.event, d.input,
    d.facts_us, d.policy_us, coalesce(d.request_id, ''), coalesce(d.traceparent, '')`

// Row is a decision as values of columns. It points into the decision that it was made of.
type Row struct {
	ID, WorkspaceID             uuid.UUID
	Seq                         int64 // the database gives it
	At                          time.Time
	UID, RequestID, TraceParent string // NULL if ""
	Hook, Caller, CallerProof   string
	Kind, Revision              string
	Allowed                     bool    // NULL for an error
	Code, Reason                *string // written and not read: they are those of the first violation that denies
	ErrorCode, ErrorDetail      *string
	Marked, DryRun              bool
	Violations                  []byte    // JSON; nil stands for []
	EventID                     uuid.UUID // NULL without an event
	Event                       []byte    // JSON
	Input                       []byte
	FactsMicros, PolicyMicros   int64
	Redaction                   admission.Redaction
}

// Of is the row of a decision.
func Of(d *admission.Decision) (Row, error) {
	row := Row{
		ID: d.ID, WorkspaceID: d.WorkspaceID, At: d.At, UID: d.UID, RequestID: d.Trace.RequestID, TraceParent: d.Trace.Parent,
		Hook: d.Hook, Caller: d.Caller, CallerProof: string(d.CallerProof), Kind: d.Kind, Revision: d.Verdict.Revision,
		Marked: d.MarkedFailed, DryRun: d.DryRun, Input: d.Input, Redaction: d.Redaction,
		FactsMicros: d.Timings.Facts.Microseconds(), PolicyMicros: d.Timings.Policy.Microseconds(),
	}
	if d.Failed != nil {
		row.Code, row.ErrorCode, row.ErrorDetail = (*string)(&d.Failed.Code), (*string)(&d.Failed.Code), &d.Failed.Detail
	} else if denying := d.Verdict.Denying(); denying != nil {
		row.Code, row.Reason = &denying.Code, &denying.Reason
	} else {
		row.Allowed = true
	}
	var err error
	if len(d.Verdict.Violations) > 0 {
		row.Violations, err = json.Marshal(d.Verdict.Violations)
		if err != nil {
			return row, fmt.Errorf("encoding the violations: %w", err)
		}
	}
	if d.Event != nil {
		row.EventID = d.Event.ID
		row.Event, err = json.Marshal(d.Event)
		if err != nil {
			return row, fmt.Errorf("encoding the event: %w", err)
		}
	}
	return row, nil
}

// Claims says whether the decision is the answer to its uid from now on. An error is none.
func (r *Row) Claims() bool { return r.UID != "" && r.ErrorCode == nil }

// Decision is what was read into the row. It keeps the row's Input, and nothing else of its bytes.
func (r *Row) Decision() (ledger.Decision, error) {
	read := ledger.Decision{Seq: r.Seq, Decision: admission.Decision{
		ID: r.ID, At: r.At.UTC(), UID: r.UID, Hook: r.Hook, Caller: r.Caller, CallerProof: admission.CallerProof(r.CallerProof),
		WorkspaceID: r.WorkspaceID, Kind: r.Kind, Input: r.Input, MarkedFailed: r.Marked, Redaction: r.Redaction,
		Trace:   admission.Trace{RequestID: r.RequestID, Parent: r.TraceParent},
		Verdict: admission.Verdict{Revision: r.Revision},
		// Of a review that is a dry run for itself nothing is recorded.
		DryRun: r.DryRun, Unenforced: r.DryRun,
		Timings: admission.Timings{
			Facts:  time.Duration(r.FactsMicros) * time.Microsecond,
			Policy: time.Duration(r.PolicyMicros) * time.Microsecond,
		},
	}}
	d := &read.Decision
	if r.ErrorCode != nil && r.ErrorDetail != nil {
		d.Failed = &admission.Failure{Code: admission.Code(*r.ErrorCode), Detail: *r.ErrorDetail}
	}
	var violations, event error
	if len(r.Violations) > len("[]") { // most have none
		violations = json.Unmarshal(r.Violations, &d.Verdict.Violations)
	}
	if r.EventID != uuid.Nil {
		d.Event = &admission.Event{ID: r.EventID, DecisionID: d.ID, Hook: d.Hook}
		event = json.Unmarshal(r.Event, d.Event)
	}
	r.Input = nil // the next row gets bytes of its own
	err := errors.Join(violations, event)
	if err != nil {
		return ledger.Decision{}, fmt.Errorf("decision %s: %w", r.ID, err)
	}
	return read, nil
}
