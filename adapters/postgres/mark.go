package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"gatehouse/server/admission"
)

const (
	// beginSQL begins a marking transaction and locks rows in one round trip. READ COMMITTED, whatever the
	// server's default is, because the statements after this one must see what was committed while it waited.
	//
	// FOR UPDATE and not FOR NO KEY UPDATE, which the update itself would take: an insert into
	// workspace_secrets takes FOR KEY SHARE on this row, for its foreign key, and must wait for the mark, or the
	// mark for it. Otherwise a secret could be committed between the look at the facts and the mark.
	//
	// In order of ids, lest two transactions wait for each other. The ids are in the text because a statement of
	// several parts takes no parameters; they are of type uuid.UUID, so they can be nothing but hexadecimal digits
	// and hyphens.
	beginSQL = `begin isolation level read committed; select from workspaces where id in (%s) order by id for update`

	// lockedSQL reads the rows that this transaction has locked, and locks those that have become free. status is
	// an enum and may be NULL.
	lockedSQL = `
select id, coalesce(status::text, ''), coalesce(last_sample_error, '')
from workspaces where id = any($1) order by id for update skip locked`

	// The lock on a workspace's row is what makes the highest number and one the next: the workspace's events
	// before this one are committed, and none can come in between.
	lastEventsSQL = `
select workspace_id, max(workspace_seq) from gatehouse.events where workspace_id = any($1) group by workspace_id`

	// The guard repeats admission.ShouldMark for the one case that could not be made good: a row that was removed
	// stays removed. clock_timestamp and not now: the transaction may be older than the last change of the row,
	// for which it waited.
	markSQL = `
update workspaces w
set status = 'failed', last_sample_error = given.error, updated_at = clock_timestamp()
from unnest($1::uuid[], $2::text[]) as given (id, error)
where w.id = given.id and coalesce(w.status::text, '') not in ('removed', 'paused', 'hibernated')`

	structureEventsSQL = `
insert into structure_events (id, event_type, workspace_id, payload, created_at)
select id, event_type, workspace_id, payload::jsonb, clock_timestamp()
from unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[]) as given (id, event_type, workspace_id, payload)`

	eventsSQL = `
insert into gatehouse.events (id, workspace_id, workspace_seq, event_type, decision_id, hook, message, created_at)
select * from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::uuid[], $6::text[], $7::json[], $8::timestamptz[])`
)

// errUIDTaken says that another request with the same uid was decided first.
var errUIDTaken = errors.New("the uid was answered before")

// marking is one deny on its way into a marking transaction, and how it is decided again.
type marking struct {
	ctx      context.Context // of its request, which may end before that of its company
	decision admission.Decision
	seen     admission.Facts
	judge    admission.Judge
}

// marked is what became of it.
type marked struct {
	decision admission.Decision
	err      error
	busy     bool // nothing: another transaction has the row, or there is none
}

// RecordAndMark writes a decision and its effects in one transaction, together with those of other workspaces
// that come at the same time. Where another transaction has the workspace's row, it gets one of its own: a row
// that is held for long holds up its own requests only.
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

	one := marking{ctx, d, seen, judge}
	result, err := s.marks.Do(ctx, one)
	if err == nil && result.busy {
		var results []marked
		results, err = s.mark(ctx, []marking{one}, wait)
		if err == nil {
			result = results[0]
		}
	}
	switch {
	case errors.Is(err, errUIDTaken):
		return s.recorded(ctx, d.UID)
	case err != nil:
		return admission.Decision{}, because(ctx, err)
	case result.err != nil:
		return admission.Decision{}, because(ctx, result.err)
	}
	return result.decision, nil
}

// What to do about a row that another transaction has.
const (
	wait = ""
	skip = " skip locked"
)

// markBatch is the flush of the group of marks.
func (s *Store) markBatch(ctx context.Context, batch []marking) ([]marked, error) {
	return s.mark(ctx, batch, skip)
}

// mark does all of a batch in one transaction, each of another workspace. It gives errUIDTaken, and does nothing,
// if the uid of any was answered before.
func (s *Store) mark(ctx context.Context, batch []marking, locked string) ([]marked, error) {
	tx, err := s.pool.BeginTx(ctx, pgx.TxOptions{BeginQuery: beginQuery(batch) + locked})
	if err != nil {
		return nil, fmt.Errorf("locking the workspace: %w", err)
	}
	// After a commit this does nothing. If ctx has ended, it throws the connection away, which rolls back too.
	defer func() { _ = tx.Rollback(ctx) }()

	rows, err := s.readLocked(ctx, tx, batch)
	if err != nil {
		return nil, err
	}
	results := make([]marked, len(batch))
	var writing []*admission.Decision
	for i, one := range batch {
		row := rows[one.decision.WorkspaceID]
		if !row.exists && locked == skip {
			results[i].busy = true
			continue
		}
		results[i].decision, results[i].err = decideAgain(one, row)
		if results[i].err == nil {
			writing = append(writing, &results[i].decision)
		}
	}
	if len(writing) == 0 {
		return results, nil
	}
	err = s.write(ctx, tx, writing)
	if err != nil {
		return nil, err
	}
	err = tx.Commit(ctx)
	if err != nil {
		return nil, fmt.Errorf("committing decisions and their effects: %w", err)
	}
	if slices.ContainsFunc(writing, func(d *admission.Decision) bool { return d.Event != nil }) {
		s.wakeUp.call()
	}
	return results, nil
}

func beginQuery(batch []marking) string {
	ids := make([]string, len(batch))
	for i, one := range batch {
		ids[i] = "'" + one.decision.WorkspaceID.String() + "'"
	}
	return fmt.Sprintf(beginSQL, strings.Join(ids, ", "))
}

// decideAgain gives the decision on the facts as they are under the lock, which marks if its row is to be marked. A
// request that has ended is not decided: its caller was answered with an error.
func decideAgain(one marking, row lockedRow) (admission.Decision, error) {
	if row.err != nil {
		return admission.Decision{}, row.err
	}
	d := one.decision
	if !row.facts.Equal(one.seen) {
		var err error
		d, err = one.judge(one.ctx, row.facts)
		if err != nil {
			return admission.Decision{}, err
		}
	}
	if one.ctx.Err() != nil {
		return admission.Decision{}, one.ctx.Err()
	}
	if row.exists && admission.ShouldMark(row.status, row.lastError, d.Verdict.Marking()) {
		err := d.Mark()
		if err != nil {
			return admission.Decision{}, fmt.Errorf("making an event id: %w", err)
		}
		d.Event.Sequence = row.lastEvent + 1
	}
	return d, nil
}

// lockedRow is what decides whether a workspace's row is to be marked, and what else is known of it.
type lockedRow struct {
	exists            bool
	status, lastError string
	lastEvent         int64
	facts             admission.Facts
	err               error // of reading its facts again
}

// readLocked reads the rows and the facts again, now that nobody else can change them.
func (s *Store) readLocked(ctx context.Context, tx pgx.Tx, of []marking) (map[uuid.UUID]lockedRow, error) {
	ids := make([][16]byte, len(of))
	for i, one := range of {
		ids[i] = one.decision.WorkspaceID
	}
	rows := make(map[uuid.UUID]lockedRow, len(of))
	batch := new(pgx.Batch)
	batch.Queue(lockedSQL, ids).Query(func(found pgx.Rows) error {
		var id [16]byte
		row := lockedRow{exists: true}
		_, err := pgx.ForEachRow(found, []any{&id, &row.status, &row.lastError}, func() error {
			rows[id] = row
			return nil
		})
		return err
	})
	batch.Queue(lastEventsSQL, ids).Query(func(found pgx.Rows) error {
		var id [16]byte
		var last int64
		_, err := pgx.ForEachRow(found, []any{&id, &last}, func() error {
			row := rows[id]
			row.lastEvent = last
			rows[id] = row
			return nil
		})
		return err
	})
	s.queueFacts(batch, ids, func(id uuid.UUID, facts admission.Facts, err error) {
		row := rows[id]
		row.facts = facts
		if err != nil {
			row.err = factsUnavailable(err)
		}
		rows[id] = row
	})

	err := tx.SendBatch(ctx, batch).Close()
	switch {
	case err == nil:
		return rows, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("reading the facts again: %w", err)
	default:
		return nil, factsUnavailable(err)
	}
}

func factsUnavailable(err error) error {
	return &admission.Error{
		Code: admission.CodeFactsUnavailable, Detail: "the facts of the workspace cannot be read again", Err: err,
	}
}

// write writes decisions and, where there are events, what comes with them.
func (s *Store) write(ctx context.Context, tx pgx.Tx, decisions []*admission.Decision) error {
	records := make([]admission.Decision, len(decisions))
	var events []admission.Event
	for i, d := range decisions {
		records[i] = *d
		if d.Event != nil {
			events = append(events, *d.Event)
		}
	}
	batch := new(pgx.Batch)
	err := queueDecisions(batch, records)
	if err == nil && len(events) > 0 {
		err = queueEffects(batch, events)
	}
	if err == nil {
		err = tx.SendBatch(ctx, batch).Close()
	}
	if err != nil || len(events) == 0 || s.outbox == nil {
		return err
	}
	err = s.outbox.Announce(ctx, tx, events...)
	if err != nil {
		return fmt.Errorf("handing events to the outbox: %w", err)
	}
	return nil
}

func queueDecisions(batch *pgx.Batch, decisions []admission.Decision) error {
	given, err := newDecisionRows(decisions)
	if err != nil {
		return err
	}
	batch.Queue(recordSQL, given.arguments()...).Query(func(rows pgx.Rows) error {
		refused, err := uuids(rows)
		if err != nil {
			return fmt.Errorf("writing decisions: %w", err)
		}
		if len(refused) > 0 {
			return errUIDTaken
		}
		return nil
	})
	return nil
}
