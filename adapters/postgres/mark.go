package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"gatehouse/server/admission"
)

const (
	// beginSQL begins the marking transaction and locks the row in one round trip. READ COMMITTED, whatever the
	// server's default is, because the statements after this one must see what was committed while it waited.
	//
	// FOR UPDATE and not FOR NO KEY UPDATE, which the update itself would take: an insert into
	// workspace_secrets takes FOR KEY SHARE on this row, for its foreign key, and must wait for the mark, or the
	// mark for it. Otherwise a secret could be committed between the look at the facts and the mark.
	//
	// The id is in the text because a statement of several parts takes no parameters; it is a uuid.UUID, so it
	// can be nothing but hexadecimal digits and hyphens.
	beginSQL = `begin isolation level read committed; select from workspaces where id = '%s' for update`

	// status is an enum and may be NULL.
	lockedSQL = `
select coalesce(status::text, ''), coalesce(last_sample_error, '') from workspaces where id = $1`

	// The guard repeats admission.ShouldMark for the one case that could not be made good: a row that was removed
	// stays removed. clock_timestamp and not now: the transaction may be older than the last change of the row,
	// for which it waited.
	markSQL = `
update workspaces
set status = 'failed', last_sample_error = $2, updated_at = clock_timestamp()
where id = $1 and coalesce(status::text, '') not in ('removed', 'paused', 'hibernated')`

	structureEventSQL = `
insert into structure_events (id, event_type, workspace_id, payload, created_at)
values ($1, $2, $3, $4, clock_timestamp())`

	// The lock on the workspace's row is what makes max + 1 right: the workspace's events before this one are
	// committed, and none can come in between. Who listens hears of it when, and only if, this is committed.
	eventSQL = `
with written as (
    insert into gatehouse.events (id, workspace_id, workspace_seq, event_type, decision_id, hook, message, created_at)
    select $1::uuid, $2::uuid, coalesce(max(workspace_seq), 0) + 1, $3::text, $4::uuid, $5::text, $6::json, $7::timestamptz
    from gatehouse.events where workspace_id = $2
    returning workspace_seq
)
select workspace_seq, pg_notify('` + eventsChannel + `', '') from written`
)

// errUIDTaken says that another request with the same uid was decided first.
var errUIDTaken = errors.New("the uid was answered before")

// RecordAndMark writes a decision and its effects in one transaction.
func (s *Store) RecordAndMark(
	ctx context.Context, d admission.Decision, seen admission.Facts, judge admission.Judge,
) (admission.Decision, error) {
	ctx, cancel := beforeDeadline(ctx)
	defer cancel()
	unlock, err := s.marking.lock(ctx, d.WorkspaceID)
	if err != nil {
		return admission.Decision{}, fmt.Errorf("waiting for other requests of the workspace: %w", err)
	}
	defer unlock()

	marked, err := s.mark(ctx, d, seen, judge)
	switch {
	case errors.Is(err, errUIDTaken):
		return s.recorded(ctx, d.UID)
	case err != nil:
		return admission.Decision{}, because(ctx, err)
	}
	return marked, nil
}

func (s *Store) mark(
	ctx context.Context, d admission.Decision, seen admission.Facts, judge admission.Judge,
) (admission.Decision, error) {
	tx, err := s.pool.BeginTx(ctx, pgx.TxOptions{BeginQuery: fmt.Sprintf(beginSQL, d.WorkspaceID)})
	if err != nil {
		return admission.Decision{}, fmt.Errorf("locking the workspace: %w", err)
	}
	// After a commit this does nothing. If ctx has ended, it throws the connection away, which rolls back too.
	defer func() { _ = tx.Rollback(ctx) }()

	row, facts, err := s.readLocked(ctx, tx, d.WorkspaceID)
	if err != nil {
		return admission.Decision{}, err
	}
	if !facts.Equal(seen) {
		d, err = judge(ctx, facts)
		if err != nil {
			return admission.Decision{}, err
		}
	}
	if row.exists && admission.ShouldMark(row.status, row.lastError, d.Verdict.Marking()) {
		err = d.Mark()
		if err != nil {
			return admission.Decision{}, fmt.Errorf("making an event id: %w", err)
		}
	}
	err = s.write(ctx, tx, d)
	if err != nil {
		return admission.Decision{}, err
	}
	err = tx.Commit(ctx)
	if err != nil {
		return admission.Decision{}, fmt.Errorf("committing the decision and its effects: %w", err)
	}
	return d, nil
}

// lockedRow is what decides whether a workspace's row is to be marked.
type lockedRow struct {
	exists            bool
	status, lastError string
}

// readLocked reads the row and the facts again, now that nobody else can change them.
func (s *Store) readLocked(ctx context.Context, tx pgx.Tx, id uuid.UUID) (lockedRow, admission.Facts, error) {
	var row lockedRow
	var facts admission.Facts
	batch := new(pgx.Batch)
	batch.Queue(lockedSQL, [16]byte(id)).QueryRow(func(r pgx.Row) error {
		err := r.Scan(&row.status, &row.lastError)
		row.exists = err == nil
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	batch.Queue(s.factsQuery, [16]byte(id)).Query(func(rows pgx.Rows) error {
		var err error
		facts, err = readFacts(rows)
		return err
	})

	err := tx.SendBatch(ctx, batch).Close()
	switch {
	case err == nil:
		return row, facts, nil
	case ctx.Err() != nil:
		return lockedRow{}, admission.Facts{}, fmt.Errorf("reading the facts again: %w", err)
	default:
		return lockedRow{}, admission.Facts{}, &admission.Error{
			Code: admission.CodeFactsUnavailable, Detail: "the facts of the workspace cannot be read again", Err: err,
		}
	}
}

// write writes the decision and, where there is an event, what comes with it. It gives errUIDTaken if the uid
// was answered before; then the transaction must not be committed.
func (s *Store) write(ctx context.Context, tx pgx.Tx, d admission.Decision) error {
	batch := new(pgx.Batch)
	err := queueDecision(batch, d)
	if err != nil {
		return err
	}
	if d.Event != nil {
		err = queueEffects(batch, d)
		if err != nil {
			return err
		}
	}
	err = tx.SendBatch(ctx, batch).Close()
	if err != nil {
		return err
	}
	if d.Event == nil || s.outbox == nil {
		return nil
	}
	err = s.outbox.Announce(ctx, tx, *d.Event)
	if err != nil {
		return fmt.Errorf("handing the event to the outbox: %w", err)
	}
	return nil
}

func queueDecision(batch *pgx.Batch, d admission.Decision) error {
	given, err := newDecisionRows([]admission.Decision{d})
	if err != nil {
		return err
	}
	batch.Queue(recordSQL, given.arguments()...).Query(func(rows pgx.Rows) error {
		refused, err := uuids(rows)
		if err != nil {
			return fmt.Errorf("writing the decision: %w", err)
		}
		if len(refused) > 0 {
			return errUIDTaken
		}
		return nil
	})
	return nil
}

func queueEffects(batch *pgx.Batch, d admission.Decision) error {
	message, err := encodeEvent(d.Event)
	if err != nil {
		return err
	}
	payload, err := json.Marshal(d.Event.Payload)
	if err != nil {
		return fmt.Errorf("encoding the event's payload: %w", err)
	}

	event := d.Event
	queueOne(batch, "marking the workspace failed", markSQL, d.WorkspaceID, event.Payload.Error)
	queueOne(batch, "writing the registry's event", structureEventSQL, event.ID, event.Event, d.WorkspaceID, payload)
	batch.Queue(eventSQL, event.ID, d.WorkspaceID, event.Event, d.ID, d.Hook, message, event.Timestamp).
		QueryRow(func(row pgx.Row) error {
			err := row.Scan(&event.Sequence, nil)
			if err != nil {
				return fmt.Errorf("writing the outgoing event: %w", err)
			}
			return nil
		})
	return nil
}

// queueOne queues a statement that must change one row, no more and no less.
func queueOne(batch *pgx.Batch, what, sql string, arguments ...any) {
	query := batch.Queue(sql, arguments...)
	query.Fn = func(results pgx.BatchResults) error {
		tag, err := results.Exec()
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if tag.RowsAffected() != 1 {
			return fmt.Errorf("%s: %d rows were changed instead of one", what, tag.RowsAffected())
		}
		return nil
	}
}
