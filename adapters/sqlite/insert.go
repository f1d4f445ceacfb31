package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"

	"github.com/molecule-ai/gatehouse/adapters/sqlite/connection"
	"github.com/molecule-ai/gatehouse/adapters/sqlite/history"
	"github.com/molecule-ai/gatehouse/internal/decisionrow"
	"github.com/molecule-ai/gatehouse/server/admission"
)

const (
	// Writing the same decision twice does no harm: a batch whose commit reported an error is tried again.
	insertDecisionSQL = `
insert into decisions (id, decided_at, uid, hook, caller, caller_proof, workspace_id, kind, allowed, code, reason,
                       error_code, error_detail, policy_revision, marked_failed, dry_run, violations, event_id, event,
                       facts_us, policy_us, erased, masked, input, request_id, traceparent)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict (id) do nothing`

	// A uid that its caller has used keeps its decision.
	claimUIDSQL = `
insert into request_uids (uid, caller, digest, decision_id, decided_at) values (?, ?, ?, ?, ?)
on conflict (uid, caller) do nothing`

	claimedSQL = `select 1 from request_uids where uid = ? and caller = ?`

	recordedSQL = `
select ` + history.DecisionColumns + `, u.digest
from request_uids u join decisions d on d.id = u.decision_id
where u.uid = $1 and u.caller = $2`
)

// earlier is the decision that carries the uid of d already, if any does.
func earlier(ctx context.Context, tx *sql.Tx, d admission.Decision) (_ admission.Decision, found bool, _ error) {
	if d.UID == "" || d.Failed != nil {
		return admission.Decision{}, false, nil
	}
	earlier, err := readRecorded(ctx, tx, d.RequestKey())
	if errors.Is(err, admission.ErrNotRecorded) {
		return admission.Decision{}, false, nil
	}
	return earlier, err == nil, err
}

func insert(ctx context.Context, tx *sql.Tx, d admission.Decision) error {
	values, err := newValues(d)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, insertDecisionSQL, values.decision...)
	if err != nil || len(values.claim) == 0 {
		return err
	}
	claimed, err := connection.Affected(tx.ExecContext(ctx, claimUIDSQL, values.claim...))
	if err == nil && claimed == 0 {
		err = errors.New("its uid is claimed by a decision that is gone")
	}
	return err
}

// values are a decision as the driver takes it: integers of 64 bits, texts, truths, bytes and nil.
type values struct {
	decision []any // in the order of the columns of insertDecisionSQL
	claim    []any // of claimUIDSQL; empty for a decision without a uid, and for an error: that claims none
}

func newValues(d admission.Decision) (values, error) {
	row, err := decisionrow.Of(&d)
	if err != nil {
		return values{}, err
	}
	erased, erasedErr := listText(d.Redaction.Erased)
	masked, maskedErr := listText(d.Redaction.Masked)
	err = errors.Join(erasedErr, maskedErr)
	if err != nil {
		return values{}, fmt.Errorf("encoding what the input lacks: %w", err)
	}
	var allowed, eventID, event any
	if row.ErrorCode == nil {
		allowed = row.Allowed
	}
	if row.Event != nil {
		eventID, event = row.EventID.String(), string(row.Event)
	}
	var violations any = "[]"
	if row.Violations != nil {
		violations = string(row.Violations)
	}
	id, at := any(row.ID.String()), any(connection.TimeText(row.At))
	uid, caller := history.OrNull(row.UID), any(row.Caller)
	made := values{decision: []any{
		id, at, uid, row.Hook, caller, row.CallerProof, row.WorkspaceID.String(), row.Kind, allowed,
		value(row.Code), value(row.Reason), value(row.ErrorCode), value(row.ErrorDetail), row.Revision, row.Marked, row.DryRun,
		violations, eventID, event, row.FactsMicros, row.PolicyMicros, erased, masked, string(row.Input),
		history.OrNull(row.RequestID), history.OrNull(row.TraceParent),
	}}
	if row.Claims() {
		made.claim = []any{uid, caller, d.Digest[:], id, at}
	}
	return made, nil
}

func value(text *string) any {
	if text == nil {
		return nil
	}
	return *text
}

// listText gives nil, which is NULL, for an empty list.
func listText(list []string) (any, error) {
	if len(list) == 0 {
		return nil, nil
	}
	text, err := json.Marshal(list)
	return string(text), err
}

// readRecorded reads the decision of a uid, as it was answered.
func readRecorded(ctx context.Context, from connection.Querier, of admission.RequestKey) (admission.Decision, error) {
	var row history.DecisionRow
	var digest []byte
	found, err := connection.Collect(ctx, from, func(rows *sql.Rows) (admission.Decision, error) {
		err := rows.Scan(append(row.Cells(), &digest)...)
		if err != nil {
			return admission.Decision{}, err
		}
		read, err := row.Decision()
		if err == nil && copy(read.Decision.Digest[:], digest) != len(read.Decision.Digest) {
			err = fmt.Errorf("decision %s: its digest has %d bytes", row.ID, len(digest))
		}
		return read.Decision, err
	}, recordedSQL, of.UID, of.Caller)
	if err != nil {
		return admission.Decision{}, err
	}
	if len(found) == 0 {
		return admission.Decision{}, admission.ErrNotRecorded
	}
	return found[0], nil
}
