package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/molecule-ai/gatehouse/adapters/postgres/connection"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// FactsReady says why facts cannot be read, nil if they can: the facts query keeps its contract and runs.
func (s *Store) FactsReady(ctx context.Context) error {
	err := s.CheckFacts(ctx)
	if err != nil {
		return err
	}
	_, err = s.Facts(ctx, uuid.Nil)
	return err
}

// touchLedgerSQL asks for everything that recording and marking write, without a row of any: the server checks rights,
// locks, and whether it takes writes at all. The message is a record in the write-ahead log and nowhere else, so that the
// commit has to reach the disk, and a synchronous standby if there is one.
const touchLedgerSQL = `
with decision as (
    insert into gatehouse.decisions select * from gatehouse.decisions where false
), uid as (
    insert into gatehouse.request_uids select * from gatehouse.request_uids where false
), event as (
    insert into gatehouse.events (id, workspace_id, event_type, decision_id, message, created_at)
    select id, workspace_id, event_type, decision_id, message, created_at from gatehouse.events where false
), mark as (
    update workspaces set status = 'failed', last_sample_error = '', updated_at = now() where false
), registry as (
    insert into structure_events (id, event_type, workspace_id, payload, created_at)
    select null::uuid, '', null::uuid, '{}'::jsonb, now() where false
)
select pg_logical_emit_message(true, 'gatehouse', 'ready?')::text`

// probeLockTimeout is short: a readiness probe waits less than a second.
const probeLockTimeout = "set local lock_timeout = '300ms'"

// LedgerReady says why no decision can be recorded, nil if one can: the tables are up to date and may be written, and a
// commit is written to the disk. suspected means that reviews have just failed to record decisions. Then a decision is written
// and rolled back, too. That costs more, and finds faults that only some writes meet, such as a full disk.
func (s *Store) LedgerReady(ctx context.Context, suspected bool) error {
	pending, err := s.Pending(ctx)
	if err != nil {
		return connection.ExplainLedger(ctx, err)
	}
	if len(pending) > 0 {
		return admission.LedgerUnavailable("the tables are not migrated",
			fmt.Errorf("the schema gatehouse lacks the migrations %v; run gatehouse migrate", pending))
	}
	if suspected {
		err = s.tryToRecord(ctx)
		if err != nil {
			return connection.ExplainLedger(ctx, fmt.Errorf("trying to record a decision: %w", err))
		}
	}
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, probeLockTimeout)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, touchLedgerSQL)
		return err
	})
	if err != nil {
		return connection.ExplainLedger(ctx, fmt.Errorf("trying to write: %w", err))
	}
	return nil
}

// tryToRecord writes a decision and rolls it back.
func (s *Store) tryToRecord(ctx context.Context) error {
	probe, err := admission.NewProbe(time.Now())
	if err != nil {
		return err
	}
	given, err := newDecisionRows([]admission.Decision{probe})
	if err != nil {
		return err
	}
	tx, err := s.pool.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }() // it was never to be committed
	_, err = tx.Exec(ctx, probeLockTimeout)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, claimAndRecordSQL+refusedSQL, given.arguments()...)
	return err
}

// StillFailed says whether the workspace is marked failed now. A row that is gone is not.
func (s *Store) StillFailed(ctx context.Context, workspaceID uuid.UUID) (bool, error) {
	var failed bool
	err := s.pool.QueryRow(ctx, "select coalesce(status::text, '') = 'failed' from workspaces where id = $1", workspaceID).
		Scan(&failed)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, connection.Explain(ctx, fmt.Errorf("reading the status of a workspace: %w", err))
	}
	return failed, nil
}
