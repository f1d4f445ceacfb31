package postgres

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/molecule-ai/gatehouse/adapters/postgres/connection"
	"github.com/molecule-ai/gatehouse/adapters/postgres/history"
	"github.com/molecule-ai/gatehouse/server/admission"
)

//go:embed record.sql
var claimAndRecordSQL string

//go:embed record_unclaimed.sql
var recordUnclaimedSQL string

// refusedSQL gives the ids of what was not written.
const refusedSQL = " select id from refused"

const recordedSQL = `
select u.digest, ` + history.DecisionColumns + `
from gatehouse.request_uids u
join gatehouse.decisions d on d.id = u.decision_id
where u.uid = $1 and u.caller = $2`

// answeredSQL gives those of the uids that have been answered, to any caller. Mostly there are none.
const answeredSQL = `select uid, caller from gatehouse.request_uids where uid = any((select $1::text[])::text[])`

// Recorded gives the decision of a caller's uid. Whether there is one is asked together with others who ask at the same time.
func (s *Store) Recorded(ctx context.Context, of admission.RequestKey) (admission.Decision, error) {
	answered, err := s.uids.Do(ctx, of)
	switch {
	case err != nil:
		return admission.Decision{}, connection.ExplainLedger(ctx, fmt.Errorf("looking for the decision of a uid: %w", err))
	case !answered:
		return admission.Decision{}, admission.ErrNotRecorded
	}
	ctx, cancel := connection.BeforeDeadline(ctx)
	defer cancel()
	d, err := s.recorded(ctx, of)
	return d, connection.ExplainLedger(ctx, err)
}

// answeredBatch is the flush of the group of uids.
func (s *Store) answeredBatch(ctx context.Context, asked []admission.RequestKey) ([]bool, error) {
	uids := make([]string, len(asked))
	for i, of := range asked {
		uids[i] = of.UID
	}
	rows, err := s.pool.Query(ctx, answeredSQL, uids)
	if err != nil {
		return nil, err
	}
	known, err := pgx.CollectRows(rows, pgx.RowToStructByName[admission.RequestKey])
	if err != nil {
		return nil, err
	}
	answered := make([]bool, len(asked))
	for i, of := range asked {
		answered[i] = slices.Contains(known, of)
	}
	return answered, nil
}

func (s *Store) recorded(ctx context.Context, of admission.RequestKey) (admission.Decision, error) {
	rows, err := s.pool.Query(ctx, recordedSQL, of.UID, of.Caller)
	if err != nil {
		return admission.Decision{}, connection.Explain(ctx, fmt.Errorf("looking for the decision of a uid: %w", err))
	}
	d, err := pgx.CollectExactlyOneRow(rows, readRecorded)
	if errors.Is(err, pgx.ErrNoRows) {
		return admission.Decision{}, admission.ErrNotRecorded
	}
	if err != nil {
		return admission.Decision{}, connection.Explain(ctx, fmt.Errorf("looking for the decision of a uid: %w", err))
	}
	return d, nil
}

// readRecorded reads a row of recordedSQL.
func readRecorded(rows pgx.CollectableRow) (admission.Decision, error) {
	var row history.DecisionRow
	var digest []byte
	err := rows.Scan(append([]any{&digest}, row.Targets()...)...)
	if err != nil {
		return admission.Decision{}, err
	}
	read, err := row.Decision()
	if err != nil {
		return admission.Decision{}, err
	}
	if copy(read.Decision.Digest[:], digest) != len(read.Decision.Digest) {
		return admission.Decision{}, fmt.Errorf("decision %s: its digest has %d bytes", read.Decision.ID, len(digest))
	}
	return read.Decision, nil
}

// Record writes a decision together with those of other callers. When ctx ends first, the decision may have
// been written all the same.
func (s *Store) Record(ctx context.Context, d admission.Decision) (admission.Decision, error) {
	d, err := s.records.Do(ctx, d)
	if err != nil {
		return admission.Decision{}, connection.ExplainLedger(ctx, fmt.Errorf("recording a decision: %w", err))
	}
	return d, nil
}

// isThere tells whether an insert was refused because its decision had been written already: its first commit was not confirmed, so
// it was tried again. Another program's trigger can violate a unique key too, so the ledger is asked.
func (s *Store) isThere(ctx context.Context, id uuid.UUID, refusal error) bool {
	const uniqueViolation = "23505"
	var refused *pgconn.PgError
	if !errors.As(refusal, &refused) || refused.Code != uniqueViolation {
		return false
	}
	_, err := s.Decision(ctx, id)
	return err == nil
}

// recordBatch is the flush of the group commit: one statement, and so one transaction.
func (s *Store) recordBatch(ctx context.Context, batch []admission.Decision) ([]admission.Decision, error) {
	given, err := newDecisionRows(batch)
	if err != nil {
		return nil, err
	}
	if !given.claiming {
		_, err = s.pool.Exec(ctx, recordUnclaimedSQL, given.unclaimed()...)
		if err != nil && (len(batch) > 1 || !s.isThere(ctx, batch[0].ID, err)) {
			return nil, connection.Explain(ctx, fmt.Errorf("writing %d decisions: %w", len(batch), err))
		}
		return batch, nil
	}
	rows, err := s.pool.Query(ctx, claimAndRecordSQL+refusedSQL, given.arguments()...)
	if err != nil {
		return nil, connection.Explain(ctx, fmt.Errorf("writing %d decisions: %w", len(batch), err))
	}
	refused, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return nil, connection.Explain(ctx, fmt.Errorf("writing %d decisions: %w", len(batch), err))
	}

	if len(refused) == 0 {
		return batch, nil
	}
	recorded := slices.Clone(batch)
	for i := range recorded {
		if !slices.Contains(refused, recorded[i].ID) {
			continue
		}
		// The first decision of the uid is committed by now: claiming the uid waited for it.
		recorded[i], err = s.recorded(ctx, recorded[i].RequestKey())
		if err != nil {
			return nil, err
		}
	}
	return recorded, nil
}
