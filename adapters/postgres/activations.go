package postgres

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"gatehouse/server/admission"
)

const (
	// Recording and pruning in one statement: what is pruned is older than what was there before.
	recordActivationSQL = `
with pruned as (
    delete from gatehouse.policy_activations
    where id <= (select id from gatehouse.policy_activations order by id desc offset $7 limit 1)
)
insert into gatehouse.policy_activations (id, at, source, revision, result, reason)
values ($1, $2, $3, $4, $5, $6)
on conflict (id) do nothing`

	activationsSQL = `
select id, at, source, revision, result = 'activated', reason
from gatehouse.policy_activations order by id desc limit $1`
)

// maxActivations is for years of changes; only a source that is broken again and again reaches it.
const maxActivations = 10_000

// RecordActivation records that policies became live or were refused. Recording it again changes nothing.
func (s *Store) RecordActivation(ctx context.Context, a admission.PolicyActivation) error {
	result := "refused"
	if a.Activated {
		result = "activated"
	}
	_, err := s.pool.Exec(ctx, recordActivationSQL, [16]byte(a.ID), a.At, a.Source, a.Revision, result, a.Reason, maxActivations)
	if err != nil {
		return because(ctx, fmt.Errorf("recording an activation of policies: %w", err))
	}
	return nil
}

// Activations are the last so many, newest first.
func (s *Store) Activations(ctx context.Context, limit int) ([]admission.PolicyActivation, error) {
	rows, err := s.pool.Query(ctx, activationsSQL, limit)
	if err != nil {
		return nil, because(ctx, fmt.Errorf("reading activations of policies: %w", err))
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (admission.PolicyActivation, error) {
		var a admission.PolicyActivation
		var id [16]byte
		err := row.Scan(&id, &a.At, &a.Source, &a.Revision, &a.Activated, &a.Reason)
		a.ID = uuid.UUID(id)
		return a, err
	})
	if err != nil {
		return nil, because(ctx, fmt.Errorf("reading activations of policies: %w", err))
	}
	return found, nil
}
