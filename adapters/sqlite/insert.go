package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"

	"github.com/molecule-ai/gatehouse/adapters/sqlite/connection"
	"github.com/molecule-ai/gatehouse/adapters/sqlite/history"
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

	// A uid that its caller has used stays what it is.
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
	if !claims(d) {
		return admission.Decision{}, false, nil
	}
	earlier, err := readRecorded(ctx, tx, d.RequestKey())
	if errors.Is(err, admission.ErrNotRecorded) {
		return admission.Decision{}, false, nil
	}
	return earlier, err == nil, err
}

// claims says whether d is the answer to its uid from now on. An error is none.
func claims(d admission.Decision) bool { return d.UID != "" && d.Failed == nil }

func insert(ctx context.Context, tx *sql.Tx, d admission.Decision) error {
	values, err := decisionValues(d)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, insertDecisionSQL, values...)
	if err != nil || !claims(d) {
		return err
	}
	claimed, err := connection.Affected(tx.ExecContext(ctx, claimUIDSQL, claimValues(d)...))
	if err == nil && claimed == 0 {
		err = errors.New("its uid is claimed by a decision that is gone")
	}
	return err
}

// claimValues are in the order of the columns of claimUIDSQL.
func claimValues(d admission.Decision) []any {
	return []any{d.UID, d.Caller, d.Digest[:], d.ID.String(), connection.TimeText(d.At)}
}

// decisionValues are in the order of the columns of insertDecisionSQL, and of the types that the driver takes.
func decisionValues(d admission.Decision) ([]any, error) {
	violations, err := violationsText(d.Verdict.Violations)
	if err != nil {
		return nil, err
	}
	erased, err := pointersText(d.Redaction.Erased)
	if err != nil {
		return nil, err
	}
	masked, err := pointersText(d.Redaction.Masked)
	if err != nil {
		return nil, err
	}
	var eventID, event, allowed, reason, failed, detail any
	if d.Event != nil {
		message, err := json.Marshal(d.Event)
		if err != nil {
			return nil, err
		}
		eventID, event = d.Event.ID.String(), string(message)
	}
	if d.Failed == nil {
		allowed = d.Verdict.Allowed()
	} else {
		failed, detail = string(d.Failed.Code), d.Failed.Detail
	}
	if denying := d.Verdict.Denying(); denying != nil {
		reason = denying.Reason
	}
	return []any{
		d.ID.String(), connection.TimeText(d.At), history.OrNull(d.UID), d.Hook, d.Caller, string(d.CallerProof),
		d.WorkspaceID.String(), d.Kind, allowed, history.OrNull(d.Code()), reason, failed, detail, d.Verdict.Revision,
		d.MarkedFailed, d.DryRun, violations, eventID, event, d.Timings.Facts.Microseconds(),
		d.Timings.Policy.Microseconds(), erased, masked, string(d.Input),
		history.OrNull(d.Trace.RequestID), history.OrNull(d.Trace.Parent),
	}, nil
}

func violationsText(violations []admission.Violation) (string, error) {
	if len(violations) == 0 {
		return "[]", nil
	}
	text, err := json.Marshal(violations)
	return string(text), err
}

func pointersText(pointers []string) (any, error) {
	if len(pointers) == 0 {
		return nil, nil
	}
	text, err := json.Marshal(pointers)
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
		d, err := row.Decision()
		if err == nil && copy(d.Digest[:], digest) != len(d.Digest) {
			err = errors.New("its digest is too short")
		}
		if err != nil {
			return admission.Decision{}, fmt.Errorf("the recorded decision %s is unreadable: %w", row.ID(), err)
		}
		return d, nil
	}, recordedSQL, of.UID, of.Caller)
	if err != nil {
		return admission.Decision{}, err
	}
	if len(found) == 0 {
		return admission.Decision{}, admission.ErrNotRecorded
	}
	return found[0], nil
}
