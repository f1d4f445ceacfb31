package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"

	"gatehouse/server/admission"
)

const (
	// Writing the same decision twice does no harm: a batch whose commit reported an error is tried again.
	insertDecisionSQL = `
insert into decisions (id, decided_at, uid, hook, caller, caller_proof, workspace_id, kind, allowed, code, reason,
                       error_code, error_detail, policy_revision, marked_failed, dry_run, violations, event_id, event,
                       facts_us, policy_us, erased, masked, input)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)
on conflict (id) do nothing`

	claimUIDSQL = `insert into request_uids (uid, digest, decision_id, decided_at) values ($1, $2, $3, $4)`

	recordedSQL = `
select ` + decisionColumns + `, u.digest
from request_uids u join decisions d on d.id = u.decision_id
where u.uid = $1`
)

// inserts are what writes decisions within a transaction.
type inserts struct {
	decision, claim, recorded *sql.Stmt
}

// beginInserts prepares before it begins: the transaction holds the only connection.
func (s *Store) beginInserts(ctx context.Context) (*sql.Tx, inserts, error) {
	for _, each := range []*statement{&s.insertDecision, &s.claimUID, &s.earlier} {
		_, err := each.get(ctx) //nolint:sqlclosecheck // kept for the next batch; Close closes it with the pool
		if err != nil {
			return nil, inserts{}, err
		}
	}
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return nil, inserts{}, err
	}
	return tx, inserts{
		decision: s.insertDecision.in(ctx, tx), claim: s.claimUID.in(ctx, tx), recorded: s.earlier.in(ctx, tx),
	}, nil
}

// write needs no constraint to tell it of a uid that is taken: its transaction is the only one that writes. An error
// that was answered claims no uid, and takes nobody else's answer.
func (i inserts) write(ctx context.Context, d admission.Decision) (admission.Decision, error) {
	earlier, found, err := i.earlier(ctx, d)
	if err != nil || found {
		return earlier, err
	}
	err = i.insert(ctx, d)
	if err != nil {
		return admission.Decision{}, err
	}
	return d, nil
}

// earlier is the decision that carries the uid of d already, if any does.
func (i inserts) earlier(ctx context.Context, d admission.Decision) (_ admission.Decision, found bool, _ error) {
	if !claims(d) {
		return admission.Decision{}, false, nil
	}
	earlier, err := readRecorded(i.recorded.QueryContext(ctx, d.UID))
	if errors.Is(err, admission.ErrNotRecorded) {
		return admission.Decision{}, false, nil
	}
	return earlier, err == nil, err
}

// claims says whether d is the answer to its uid from now on.
func claims(d admission.Decision) bool { return d.UID != "" && d.Failed == nil }

func (i inserts) insert(ctx context.Context, d admission.Decision) error {
	values, err := decisionValues(d)
	if err != nil {
		return err
	}
	_, err = i.decision.ExecContext(ctx, values...)
	if err != nil || !claims(d) {
		return err
	}
	_, err = i.claim.ExecContext(ctx, d.UID, d.Digest[:], d.ID.String(), timeText(d.At))
	return err
}

// decisionValues are in the order of the columns of insertDecisionSQL.
func decisionValues(d admission.Decision) ([]any, error) {
	violations, err := json.Marshal(d.Verdict.Violations)
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
	var eventID, event sql.Null[string]
	if d.Event != nil {
		message, err := json.Marshal(d.Event)
		if err != nil {
			return nil, err
		}
		eventID, event = present(d.Event.ID.String()), present(string(message))
	}
	allowed := sql.Null[bool]{V: d.Verdict.Allowed(), Valid: d.Failed == nil}
	var reason, failed, detail sql.Null[string]
	if denying := d.Verdict.Denying(); denying != nil {
		reason = present(denying.Reason)
	}
	if d.Failed != nil {
		failed, detail = present(string(d.Failed.Code)), present(d.Failed.Detail)
	}
	return []any{
		d.ID.String(), timeText(d.At), unlessEmpty(d.UID), d.Hook, d.Caller, string(d.CallerProof),
		d.WorkspaceID.String(), d.Kind, allowed, unlessEmpty(d.Code()), reason, failed, detail, d.Verdict.Revision,
		d.MarkedFailed, d.DryRun, string(violations), eventID, event, d.Timings.Facts.Microseconds(),
		d.Timings.Policy.Microseconds(), erased, masked, string(d.Input),
	}, nil
}

func pointersText(pointers []string) (sql.Null[string], error) {
	if len(pointers) == 0 {
		return sql.Null[string]{}, nil
	}
	text, err := json.Marshal(pointers)
	return present(string(text)), err
}

func present(text string) sql.Null[string] { return sql.Null[string]{V: text, Valid: true} }

func unlessEmpty(text string) sql.Null[string] { return sql.Null[string]{V: text, Valid: text != ""} }

// readRecorded reads the decision of a uid, as it was answered, from recordedSQL that was asked.
func readRecorded(rows *sql.Rows, err error) (admission.Decision, error) {
	if err != nil {
		return admission.Decision{}, err
	}
	d, err := readRecordedRow(rows)
	return d, errors.Join(err, rows.Close())
}

func readRecordedRow(rows *sql.Rows) (admission.Decision, error) {
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return admission.Decision{}, err
		}
		return admission.Decision{}, admission.ErrNotRecorded
	}
	var row decisionRow
	var digest []byte
	err := rows.Scan(append(row.cells(), &digest)...)
	if err != nil {
		return admission.Decision{}, err
	}
	d, err := row.decision()
	if err == nil && copy(d.Digest[:], digest) != len(d.Digest) {
		err = errors.New("its digest is too short")
	}
	if err != nil {
		return admission.Decision{}, fmt.Errorf("the recorded decision %s is unreadable: %w", row.id, err)
	}
	return d, nil
}
