package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/molecule-ai/gatehouse/adapters/postgres/connection"
	"github.com/molecule-ai/gatehouse/adapters/postgres/history"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// beginning is READ COMMITTED, whatever the server's default is, because the statements after the lock must see what was
// committed while it waited.
var beginning = pgx.TxOptions{IsoLevel: pgx.ReadCommitted}

// Where a statement takes an array, it takes it as (select $1): then Postgres plans it once. Of a parameter it would see
// how long the array is, find that a plan of its own for a short one is cheaper, and plan each time, which
// takes as long as the statement itself.
const (
	// lockSQL gives the rows as they are once they are locked.
	//
	// FOR UPDATE and not FOR NO KEY UPDATE, which the update itself would take: an insert into
	// workspace_secrets takes FOR KEY SHARE on this row, for its foreign key, and must wait for the mark, or the
	// mark for it. Otherwise a secret could be committed between the look at the facts and the mark.
	//
	// In order of ids, lest two transactions wait for each other. status is an enum and may be NULL.
	lockSQL = `
select id, coalesce(status::text, ''), coalesce(last_sample_error, '')
from workspaces where id = any((select $1::uuid[])::uuid[]) order by id for update`

	// The lock on a workspace's row is what makes the highest number and one the next: the workspace's events
	// before this one are committed, and none can come in between.
	//
	// One look into the index for each, which is right for a table of any size: Postgres keeps the plan that it makes when
	// the table is still empty, and max with group by would go on to read all of a table that has grown since.
	lastEventsSQL = `
select asked.id, last.workspace_seq
from unnest((select $1::uuid[])) as asked (id)
cross join lateral (
    select workspace_seq from gatehouse.events
    where workspace_id = asked.id order by workspace_seq desc limit 1
) last`

	// The guard repeats admission.ShouldMark for the one case that could not be made good: a row that was removed
	// stays removed. clock_timestamp and not now: the transaction may be older than the last change of the row,
	// for which it waited.
	markSQL = `
with changed as (
    update workspaces w
    set status = 'failed', last_sample_error = given.error, updated_at = clock_timestamp()
    from unnest((select $1::uuid[]), $2::text[]) as given (id, error)
    where w.id = given.id and coalesce(w.status::text, '') not in ('removed', 'paused', 'hibernated')
    returning 1
)
select gatehouse.expect((select count(*) from changed), cardinality($1), 'marking workspaces failed')`

	structureEventsSQL = `
with made as (
    insert into structure_events (id, event_type, workspace_id, payload, created_at)
    select id, event_type, workspace_id, payload::jsonb, clock_timestamp()
    from unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[]) as given (id, event_type, workspace_id, payload)
    returning 1
)
select gatehouse.expect((select count(*) from made), cardinality($1), 'writing the registry''s events')`

	eventsSQL = `
with made as (
    insert into gatehouse.events (id, workspace_id, workspace_seq, event_type, decision_id, hook, message, created_at)
    select * from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::uuid[], $6::text[], $7::json[], $8::timestamptz[])
    returning 1
)
select gatehouse.expect((select count(*) from made), cardinality($1), 'writing outgoing events')`
)

// errUIDTaken: another request of the same caller with the same uid was decided first.
var errUIDTaken = errors.New("the uid was answered before")

// marking is one deny on its way into a marking transaction, and how it is decided again.
type marking struct {
	ctx      context.Context // of its request; others in the batch may last longer
	decision admission.Decision
	seen     admission.Facts
	judge    admission.Judge
	// decided is set when a transaction is about to write it. If it is tried again after that, the first transaction may
	// have been committed without our knowing. Then the first one is the answer.
	decided bool
}

// marked is what became of it.
type marked struct {
	admission.Judged
	err  error
	busy bool // nothing was done: another transaction has the row, or there is no row
}

// RecordAndMark writes a decision and its effects in one transaction, together with those of other workspaces
// that come at the same time. Where another transaction has the workspace's row, it gets one of its own: a row
// that is held for long holds up its own requests only.
func (s *Store) RecordAndMark(
	ctx context.Context, d admission.Decision, seen admission.Facts, judge admission.Judge,
) (admission.Judged, error) {
	ctx, cancel := connection.BeforeDeadline(ctx)
	defer cancel()
	unlock, err := s.marking.lock(ctx, d.WorkspaceID)
	if err != nil {
		return admission.Judged{}, fmt.Errorf("waiting for other requests of the workspace: %w", err)
	}
	defer unlock()

	one := &marking{ctx: ctx, decision: d, seen: seen, judge: judge}
	result, err := s.marks.Do(ctx, one)
	if err == nil && result.busy {
		var results []marked
		results, err = s.mark(ctx, []*marking{one}, wait)
		if err == nil {
			result = results[0]
		}
	}
	switch {
	case errors.Is(err, errUIDTaken):
		recorded, err := s.recorded(ctx, d.RequestKey())
		return admission.Judged{Decision: recorded}, connection.ExplainLedger(ctx, err)
	case err != nil:
		return admission.Judged{}, connection.ExplainLedger(ctx, err)
	case result.err != nil:
		return result.Judged, connection.ExplainLedger(ctx, result.err)
	}
	return result.Judged, nil
}

// What to do when another transaction holds the row.
const (
	wait = ""
	skip = " skip locked"
)

// markBatch is the flush of the group of marks.
func (s *Store) markBatch(ctx context.Context, batch []*marking) ([]marked, error) {
	return s.mark(ctx, batch, skip)
}

// mark does all of a batch in one transaction of two round trips, each of another workspace. It gives errUIDTaken, and
// does nothing, if the uid of any was answered before. With another error it may have been done, if the connection broke
// over the commit: what comes again after that is answered as it was recorded, and what does not, with the error.
func (s *Store) mark(ctx context.Context, batch []*marking, locked string) ([]marked, error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("waiting for a connection: %w", err)
	}
	defer rollBackAndRelease(ctx, conn)

	tx, rows, err := s.lockAndRead(ctx, conn, batch, locked)
	if err != nil {
		return nil, err
	}
	results := make([]marked, len(batch))
	var writing []*admission.Decision
	for i, one := range batch {
		row := rows[one.decision.WorkspaceID]
		switch {
		case row.recorded != nil:
			results[i].Decision = *row.recorded
			continue
		case !row.exists && locked == skip:
			results[i].busy = true
			continue
		}
		results[i].Judged, results[i].err = decideAgain(one, row)
		if results[i].err == nil {
			one.decided = true
			writing = append(writing, &results[i].Decision)
		}
	}
	if len(writing) > 0 {
		err = s.writeAndCommit(ctx, tx, writing)
		if err != nil {
			return nil, err
		}
	}
	for i := range results {
		if results[i].Event != nil {
			s.wakeUp.call()
			break
		}
	}
	return results, nil
}

// rollBackAndRelease rolls back what has not been committed. If ctx has ended, it throws the connection away, which
// rolls back too.
func rollBackAndRelease(ctx context.Context, conn *pgxpool.Conn) {
	const idle = 'I'
	if conn.Conn().PgConn().TxStatus() != idle {
		_, _ = conn.Exec(ctx, "rollback")
	}
	conn.Release()
}

// decideAgain gives the decision on the facts as they are under the lock, which marks if its row is to be marked. A
// request that has ended is not decided again: its caller has been answered with an error.
func decideAgain(one *marking, row *lockedRow) (judged admission.Judged, err error) {
	switch {
	case row.err != nil:
		return judged, row.err
	case !row.read:
		return judged, factsUnavailable(errNotGiven)
	case row.facts.Equal(one.seen):
		judged.Decision = one.decision
	default:
		judged, err = one.judge.Again(one.ctx, row.facts)
	}
	if err == nil {
		err = one.ctx.Err()
	}
	if err != nil {
		return judged, err
	}
	if row.exists && admission.ShouldMark(row.status, row.lastError, judged.Verdict.Marking()) {
		err := judged.Mark()
		if err != nil {
			return judged, fmt.Errorf("making an event id: %w", err)
		}
		judged.Event.Sequence = row.lastEvent + 1
	}
	return judged, nil
}

// lockedRow is what decides whether a workspace's row is to be marked, and what else is known of it.
type lockedRow struct {
	exists            bool
	status, lastError string
	lastEvent         int64
	facts             admission.Facts
	read              bool                // facts were given
	err               error               // of reading its facts again
	recorded          *admission.Decision // by an earlier transaction whose commit was not confirmed
}

// lockAndRead begins the transaction, locks the rows, and reads the facts again, now that nobody else can change them.
func (s *Store) lockAndRead(
	ctx context.Context, conn *pgxpool.Conn, of []*marking, locked string,
) (pgx.Tx, map[uuid.UUID]*lockedRow, error) {
	ids, each := make([][16]byte, len(of)), make([]lockedRow, len(of))
	rows := make(map[uuid.UUID]*lockedRow, len(of))
	for i, one := range of {
		ids[i] = one.decision.WorkspaceID
		rows[one.decision.WorkspaceID] = &each[i]
	}
	reading := false
	batch := new(pgx.Batch)
	batch.BeginTx(beginning)
	batch.Queue(lockSQL+locked, ids).Query(func(found pgx.Rows) error {
		var id [16]byte
		var read lockedRow
		_, err := pgx.ForEachRow(found, []any{&id, &read.status, &read.lastError}, func() error {
			row := rows[id]
			row.exists, row.status, row.lastError = true, read.status, read.lastError
			return nil
		})
		return err
	})
	queueRecorded(batch, of, rows)
	batch.Queue(lastEventsSQL, ids).Query(func(found pgx.Rows) error {
		var id [16]byte
		var last int64
		_, err := pgx.ForEachRow(found, []any{&id, &last}, func() error {
			rows[id].lastEvent = last
			return nil
		})
		reading = err == nil
		return err
	})
	s.queueFacts(batch, ids, func(id uuid.UUID, facts admission.Facts, err error) {
		row := rows[id]
		row.facts, row.read = facts, true
		if err != nil {
			row.err = factsUnavailable(err)
		}
	})

	results := conn.SendBatch(ctx, batch)
	err := results.Close()
	switch {
	case err == nil:
		return results.Tx(), rows, nil
	case !reading:
		return nil, nil, fmt.Errorf("locking the workspace: %w", err)
	case ctx.Err() != nil:
		return nil, nil, fmt.Errorf("reading the facts again: %w", err)
	default:
		return nil, nil, factsUnavailable(err)
	}
}

// queueRecorded asks for the decisions of those that come again. It runs after the lock. Their first transaction
// held the same lock: if it is still being committed, this one waits for it and then sees its result. A batch that skips locked rows may
// look too early. Its decision is tried again alone, and that one waits.
func queueRecorded(batch *pgx.Batch, of []*marking, rows map[uuid.UUID]*lockedRow) {
	for _, one := range of {
		if !one.decided {
			continue
		}
		batch.Queue(history.SelectDecisions+"where d.id = $1", [16]byte(one.decision.ID)).Query(func(found pgx.Rows) error {
			var row history.DecisionRow
			_, err := pgx.ForEachRow(found, row.Targets(), func() error {
				read, err := row.Decision()
				if err != nil {
					return err
				}
				read.Decision.Digest = one.decision.Digest // which is kept with the uid
				rows[one.decision.WorkspaceID].recorded = &read.Decision
				return nil
			})
			return err
		})
	}
}

func factsUnavailable(err error) error {
	return &admission.Error{
		Code: admission.CodeFactsUnavailable, Detail: "the facts of the workspace cannot be read again", Err: err,
	}
}

// writeAndCommit writes decisions and, where there are events, what comes with them.
func (s *Store) writeAndCommit(ctx context.Context, tx pgx.Tx, decisions []*admission.Decision) error {
	records := make([]admission.Decision, len(decisions))
	var events []admission.Event
	for i, d := range decisions {
		records[i] = *d
		if d.Event != nil {
			events = append(events, *d.Event)
		}
	}
	last := &commitBatch{Tx: tx}
	defer last.abandon()
	err := queueDecisions(last, records)
	if err == nil && len(events) > 0 {
		err = queueEffects(last, events)
	}
	if err != nil {
		return err
	}
	if len(events) > 0 && s.outbox != nil {
		err = s.outbox.Announce(ctx, last, events...)
		if err != nil {
			return uidTaken(fmt.Errorf("handing events to the outbox: %w", err))
		}
	}
	return uidTaken(last.commit(ctx))
}

// queueDecisions queues what writes decisions, or fails if the uid of any was answered before.
func queueDecisions(last *commitBatch, decisions []admission.Decision) error {
	given, err := newDecisionRows(decisions)
	if err != nil {
		return err
	}
	if given.claiming {
		last.queue("writing decisions", claimAndRecordSQL+failRefusedSQL, given.arguments()...)
	} else {
		last.queue("writing decisions", recordUnclaimedSQL, given.unclaimed()...)
	}
	return nil
}

const failRefusedSQL = " select gatehouse.refuse_uid(uid) from refused"

// uidTaken is errUIDTaken if that is what err comes from.
func uidTaken(err error) error {
	const uidRefused = "GH002" // of gatehouse.refuse_uid
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == uidRefused {
		return errUIDTaken
	}
	return err
}
