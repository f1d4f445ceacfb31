package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"gatehouse/server/admission"
)

// insertDecision writes d and claims its uid. Writing the same decision twice does no harm: a batch whose
// commit reported an error is tried again.
func insertDecision(ctx context.Context, tx *sql.Tx, d admission.Decision) error {
	values, err := decisionValues(d)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		insert into decisions (id, decided_at, uid, hook, caller, caller_proof, workspace_id, kind, allowed, code,
		                       reason, policy_revision, marked_failed, violations, event_id, event, input,
		                       facts_us, policy_us, dry_run)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
		on conflict (id) do nothing`, values...)
	if err != nil || d.UID == "" {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		insert into request_uids (uid, digest, decision_id, decided_at) values ($1, $2, $3, $4)`,
		d.UID, d.Digest[:], d.ID.String(), timeText(d.At))
	return err
}

// decisionValues are in the order of the columns.
func decisionValues(d admission.Decision) ([]any, error) {
	violations, err := json.Marshal(d.Verdict.Violations)
	if err != nil {
		return nil, err
	}
	var eventID, event sql.Null[string]
	if d.Event != nil {
		message, err := json.Marshal(d.Event)
		if err != nil {
			return nil, err
		}
		eventID = sql.Null[string]{V: d.Event.ID.String(), Valid: true}
		event = sql.Null[string]{V: string(message), Valid: true}
	}
	var code, reason sql.Null[string]
	if denying := d.Verdict.Denying(); denying != nil {
		code = sql.Null[string]{V: denying.Code, Valid: true}
		reason = sql.Null[string]{V: denying.Reason, Valid: true}
	}
	return []any{
		d.ID.String(), timeText(d.At), sql.Null[string]{V: d.UID, Valid: d.UID != ""}, d.Hook, d.Caller,
		string(d.CallerProof), d.WorkspaceID.String(), d.Kind, d.Verdict.Allowed(), code,
		reason, d.Verdict.Revision, d.MarkedFailed, string(violations), eventID, event, string(d.Input),
		d.Timings.Facts.Microseconds(), d.Timings.Policy.Microseconds(), d.DryRun,
	}, nil
}

// querier is the pool of readers or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// recorded reads the decision of a uid, as it was answered.
func recorded(ctx context.Context, from querier, uid string) (_ admission.Decision, err error) {
	rows, err := from.QueryContext(ctx, `
		select u.digest, d.id, d.decided_at, d.hook, d.caller, d.caller_proof, d.workspace_id, d.kind,
		       d.policy_revision, d.marked_failed, d.violations, d.event_id, d.event, d.input, d.facts_us, d.policy_us
		from request_uids u join decisions d on d.id = u.decision_id
		where u.uid = $1`, uid)
	if err != nil {
		return admission.Decision{}, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return admission.Decision{}, err
		}
		return admission.Decision{}, admission.ErrNotRecorded
	}
	d, err := scanDecision(rows)
	if err != nil {
		return admission.Decision{}, fmt.Errorf("a recorded decision is unreadable: %w", err)
	}
	d.UID = uid
	return d, nil
}

func scanDecision(rows *sql.Rows) (admission.Decision, error) {
	var (
		d                  admission.Decision
		digest, violations []byte
		at, input          string
		eventID            uuid.NullUUID
		event              []byte
		factsUS, policyUS  int64
	)
	err := rows.Scan(&digest, &d.ID, &at, &d.Hook, &d.Caller, &d.CallerProof, &d.WorkspaceID, &d.Kind,
		&d.Verdict.Revision, &d.MarkedFailed, &violations, &eventID, &event, &input, &factsUS, &policyUS)
	if err != nil {
		return admission.Decision{}, err
	}
	if copy(d.Digest[:], digest) != len(d.Digest) {
		return admission.Decision{}, errors.New("its digest is too short")
	}
	d.At, err = time.Parse(timeLayout, at)
	if err != nil {
		return admission.Decision{}, err
	}
	err = json.Unmarshal(violations, &d.Verdict.Violations)
	if err != nil {
		return admission.Decision{}, err
	}
	if eventID.Valid {
		d.Event = &admission.Event{ID: eventID.UUID, DecisionID: d.ID, Hook: d.Hook}
		err = json.Unmarshal(event, d.Event)
		if err != nil {
			return admission.Decision{}, err
		}
	}
	d.Input = jsontext.Value(input)
	d.Timings = admission.Timings{
		Facts:  time.Duration(factsUS) * time.Microsecond,
		Policy: time.Duration(policyUS) * time.Microsecond,
	}
	return d, nil
}

// timeLayout has a fixed width, so that times sort as texts.
const timeLayout = "2006-01-02T15:04:05.000000Z"

func timeText(t time.Time) string { return t.UTC().Format(timeLayout) }
