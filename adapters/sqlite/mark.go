package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/adapters/sqlite/connection"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// RecordAndMark does all that a deny with an effect does, in one transaction. Everything that writes to the
// store goes over the one connection that the transaction holds, and other processes wait for SQLite's write
// lock, so that the transaction is the lock on the workspace's row, its secrets included: a secret that was
// put before it is seen by it, and one that is put meanwhile comes after it.
func (s *Store) RecordAndMark(
	ctx context.Context, d admission.Decision, seen admission.Facts, judge admission.Judge,
) (admission.Judged, error) {
	judged, err := s.recordAndMark(ctx, d, seen, judge)
	if err != nil {
		err = fmt.Errorf("recording a deny: %w", connection.ExplainLedger(ctx, err))
	}
	return judged, err
}

func (s *Store) recordAndMark(
	ctx context.Context, d admission.Decision, seen admission.Facts, judge admission.Judge,
) (judged admission.Judged, err error) {
	err = s.file.InTransaction(ctx, func(tx *sql.Tx) error {
		err := s.file.CheckPlace()
		if err != nil {
			return err
		}
		before, found, err := earlier(ctx, tx, d)
		if err != nil || found {
			judged.Decision = before
			return err
		}
		judged, err = s.judgeAgain(ctx, tx, d, seen, judge)
		if err != nil {
			return err
		}
		err = s.mark(ctx, tx, &judged.Decision)
		if err != nil {
			return err
		}
		return insert(ctx, tx, judged.Decision)
	})
	if err == nil && judged.Event != nil {
		s.events.call()
	}
	return judged, err
}

// judgeAgain decides on the facts as they are now, if they are not those that d was decided on. This connection
// can write, but a facts query that does was refused when the facts were read first.
func (s *Store) judgeAgain(
	ctx context.Context, tx *sql.Tx, d admission.Decision, seen admission.Facts, judge admission.Judge,
) (admission.Judged, error) {
	facts, err := readFacts(tx.QueryContext(ctx, s.factsQuery, d.WorkspaceID.String())) //nolint:rowserrcheck // readFacts does
	switch {
	case err != nil && ctx.Err() != nil:
		return admission.Judged{}, fmt.Errorf("reading the facts again: %w", err)
	case err != nil:
		return admission.Judged{}, &admission.Error{
			Code: admission.CodeFactsUnavailable, Detail: "the facts of the workspace cannot be read again", Err: err,
		}
	case facts.Equal(seen):
		return admission.Judged{Decision: d}, nil
	default:
		return judge.Again(ctx, facts)
	}
}

// mark marks the workspace of d failed and writes the events of that, unless there is no reason to.
func (s *Store) mark(ctx context.Context, tx *sql.Tx, d *admission.Decision) error {
	cause := d.Verdict.Marking()
	if cause == nil {
		return nil
	}
	// The row itself, and not the facts: an operator's facts query may give another status, or none.
	var status, lastError string
	err := tx.QueryRowContext(ctx, `
		select coalesce(status, ''), coalesce(last_sample_error, '') from workspaces where id = $1`,
		d.WorkspaceID.String()).Scan(&status, &lastError)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if !admission.ShouldMark(status, lastError, cause) {
		return nil
	}
	err = d.Mark()
	if err != nil {
		return err
	}
	err = setFailed(ctx, tx, d.WorkspaceID, cause.Message)
	if err != nil {
		return err
	}
	return s.writeEvent(ctx, tx, d.Event)
}

// setFailed is guarded although ShouldMark has looked: nothing in this file may bring a removed row back.
func setFailed(ctx context.Context, tx *sql.Tx, id uuid.UUID, message string) error {
	marked, err := tx.ExecContext(ctx, `
		update workspaces set status = 'failed', last_sample_error = $2, updated_at = $3
		where id = $1 and (status is null or status not in ('removed', 'paused', 'hibernated'))`,
		id.String(), message, connection.TimeText(time.Now()))
	if err != nil {
		return err
	}
	count, err := marked.RowsAffected()
	if err != nil {
		return err
	}
	if count != 1 {
		return fmt.Errorf("marking the workspace failed changed %d rows", count)
	}
	return nil
}

// writeEvent puts an event into the registry's log, into the events that streams read, and into the outbox. It
// gives the event its sequence, for which the transaction is lock enough: nobody else writes.
func (s *Store) writeEvent(ctx context.Context, tx *sql.Tx, event *admission.Event) error {
	payload, err := json.Marshal(event.Payload)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		insert into structure_events (id, event_type, workspace_id, payload, created_at) values ($1, $2, $3, $4, $5)`,
		event.ID.String(), event.Event, event.WorkspaceID.String(), string(payload), connection.TimeText(event.Timestamp))
	if err != nil {
		return err
	}
	message, err := json.Marshal(event)
	if err != nil {
		return err
	}
	err = tx.QueryRowContext(ctx, `
		insert into events (id, workspace_id, workspace_seq, event_type, decision_id, hook, message, created_at)
		select $1, $2, coalesce(max(workspace_seq), 0) + 1, $3, $4, $5, $6, $7 from events where workspace_id = $2
		returning workspace_seq`,
		event.ID.String(), event.WorkspaceID.String(), event.Event, event.DecisionID.String(), event.Hook,
		string(message), connection.TimeText(event.Timestamp)).Scan(&event.Sequence)
	if err != nil || s.outbox == nil {
		return err
	}
	err = s.outbox.Announce(ctx, tx, *event)
	if err != nil {
		return fmt.Errorf("handing the event to the outbox: %w", err)
	}
	return nil
}
