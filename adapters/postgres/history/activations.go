package history

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/molecule-ai/gatehouse/adapters/postgres/connection"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

const (
	// Recording and pruning in one statement: what is pruned is older than what was there before. What was live last, and
	// which signed bundle was, is never pruned, however often policies are refused.
	recordActivationSQL = `
with pruned as (
    delete from gatehouse.policy_activations
    where id <= (select id from gatehouse.policy_activations order by id desc offset $10 limit 1)
      and id is distinct from (
        select id from gatehouse.policy_activations where result = 'activated' order by id desc limit 1)
      and id is distinct from (
        select id from gatehouse.policy_activations where result = 'activated' and signed_by <> '' order by id desc limit 1)
)
insert into gatehouse.policy_activations (id, at, source, revision, result, reason, bundle_revision, built_at, signed_by)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
on conflict (id) do nothing`

	activationColumns = `id, at, source, revision, result = 'activated', reason, bundle_revision, built_at, signed_by`

	activationsSQL = `select ` + activationColumns + ` from gatehouse.policy_activations order by id desc limit $1`

	liveRevisionSQL = `
select revision from gatehouse.policy_activations where result = 'activated' order by id desc limit 1`

	lastSignedSQL = `
select ` + activationColumns + ` from gatehouse.policy_activations
where result = 'activated' and signed_by <> '' order by id desc limit 1`
)

// maxActivations is enough for years of changes. Only a source that breaks again and again reaches it.
const maxActivations = 10_000

// ActivationStore keeps which policies became live, and which were refused.
type ActivationStore struct{ pool *connection.Pool }

// RecordActivation records that policies became live or were refused. Recording it again changes nothing.
func (s ActivationStore) RecordActivation(ctx context.Context, a ledger.Activation) error {
	result := "refused"
	if a.Activated {
		result = "activated"
	}
	var revision, signedBy *string
	var builtAt *time.Time
	if bundle := a.Bundle; bundle != nil {
		revision, signedBy = &bundle.Revision, &bundle.SignedBy
		if !bundle.BuiltAt.IsZero() {
			builtAt = &bundle.BuiltAt
		}
	}
	_, err := s.pool.Exec(ctx, recordActivationSQL, [16]byte(a.ID), a.At, a.Source, a.Revision, result, a.Reason,
		revision, builtAt, signedBy, maxActivations)
	if err != nil {
		return connection.Explain(ctx, fmt.Errorf("recording an activation of policies: %w", err))
	}
	return nil
}

// Activations are the last so many, newest first.
func (s ActivationStore) Activations(ctx context.Context, limit int) ([]ledger.Activation, error) {
	rows, err := s.pool.Query(ctx, activationsSQL, limit)
	if err != nil {
		return nil, connection.Explain(ctx, fmt.Errorf("reading activations of policies: %w", err))
	}
	found, err := pgx.CollectRows(rows, scanActivation)
	if err != nil {
		return nil, connection.Explain(ctx, fmt.Errorf("reading activations of policies: %w", err))
	}
	return found, nil
}

// LastSigned is the signed bundle that a server on this database made live last, nil if none has.
func (s ActivationStore) LastSigned(ctx context.Context) (*ledger.Bundle, error) {
	rows, err := s.pool.Query(ctx, lastSignedSQL)
	if err != nil {
		return nil, connection.Explain(ctx, fmt.Errorf("reading which signed policies were live last: %w", err))
	}
	last, err := pgx.CollectExactlyOneRow(rows, scanActivation)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, connection.Explain(ctx, fmt.Errorf("reading which signed policies were live last: %w", err))
	}
	return last.Bundle, nil
}

// LiveRevision is that of the policies that a server on this database made live last, "" if none has.
func (s ActivationStore) LiveRevision(ctx context.Context) (string, error) {
	var revision string
	err := s.pool.QueryRow(ctx, liveRevisionSQL).Scan(&revision)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", connection.Explain(ctx, fmt.Errorf("reading which policies are live: %w", err))
	}
	return revision, nil
}

func scanActivation(row pgx.CollectableRow) (ledger.Activation, error) {
	var a ledger.Activation
	var id [16]byte
	var revision, signedBy *string
	var builtAt *time.Time
	err := row.Scan(&id, &a.At, &a.Source, &a.Revision, &a.Activated, &a.Reason, &revision, &builtAt, &signedBy)
	a.ID = uuid.UUID(id)
	if revision != nil && signedBy != nil {
		a.Bundle = &ledger.Bundle{Revision: *revision, SignedBy: *signedBy}
		if builtAt != nil {
			a.Bundle.BuiltAt = builtAt.UTC()
		}
	}
	return a, err
}
