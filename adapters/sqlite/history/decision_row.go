package history

import (
	"database/sql"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/adapters/sqlite/connection"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// DecisionColumns are what DecisionRow reads of decisions d.
const DecisionColumns = `
    d.seq, d.id, d.decided_at, coalesce(d.uid, ''), d.hook, d.caller, d.caller_proof, d.workspace_id, d.kind,
    d.error_code, d.error_detail, d.policy_revision, d.marked_failed, d.dry_run, d.violations, d.event_id, d.event,
    d.facts_us, d.policy_us, d.erased, d.masked, d.input,
    coalesce(d.request_id, ''), coalesce(d.traceparent, '')`

// DecisionRow is scanned into again and again.
type DecisionRow struct {
	seq               int64
	id, workspaceID   uuid.UUID
	at                string
	uid, hook, caller string
	proof             admission.CallerProof
	kind, revision    string
	failed, detail    sql.Null[string]
	marked, dry       bool
	violations        sql.RawBytes
	eventID           uuid.NullUUID
	event             sql.RawBytes
	factsUS, policyUS int64
	erased, masked    sql.RawBytes
	input             []byte
	trace             admission.Trace
}

// ID is of the row that was read last.
func (r *DecisionRow) ID() uuid.UUID { return r.id }

// Cells are what to scan into, in the order of DecisionColumns.
func (r *DecisionRow) Cells() []any {
	return []any{
		&r.seq, &r.id, &r.at, &r.uid, &r.hook, &r.caller, &r.proof, &r.workspaceID, &r.kind,
		&r.failed, &r.detail, &r.revision, &r.marked, &r.dry, &r.violations, &r.eventID, &r.event,
		&r.factsUS, &r.policyUS, &r.erased, &r.masked, &r.input,
		&r.trace.RequestID, &r.trace.Parent,
	}
}

// Decision is what was scanned.
func (r *DecisionRow) Decision() (admission.Decision, error) {
	d := admission.Decision{
		ID: r.id, UID: r.uid, Hook: r.hook, Caller: r.caller, CallerProof: r.proof, Trace: r.trace,
		WorkspaceID: r.workspaceID, Kind: r.kind, Input: jsontext.Value(r.input), MarkedFailed: r.marked,
		Verdict: admission.Verdict{Revision: r.revision},
		// Of a review that is a dry run for itself nothing is recorded.
		DryRun: r.dry, Unenforced: r.dry,
		Timings: admission.Timings{
			Facts:  time.Duration(r.factsUS) * time.Microsecond,
			Policy: time.Duration(r.policyUS) * time.Microsecond,
		},
	}
	if r.failed.Valid {
		d.Failed = &admission.Failure{Code: admission.Code(r.failed.V), Detail: r.detail.V}
	}
	var err error
	d.At, err = time.Parse(connection.TimeLayout, r.at)
	if err != nil {
		return d, err
	}
	if r.eventID.Valid {
		d.Event = &admission.Event{ID: r.eventID.UUID, DecisionID: d.ID, Hook: d.Hook}
	}
	for _, part := range []struct {
		text []byte
		into any
	}{
		{r.violations, &d.Verdict.Violations}, {r.event, d.Event},
		{r.erased, &d.Redaction.Erased}, {r.masked, &d.Redaction.Masked},
	} {
		if part.text == nil {
			continue
		}
		err = json.Unmarshal(part.text, part.into)
		if err != nil {
			return d, err
		}
	}
	return d, nil
}

// OrNull gives nil, which is NULL, for no text.
func OrNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}
