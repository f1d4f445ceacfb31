package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/molecule-ai/gatehouse/adapters/sqlite/connection"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

const (
	insertActivationSQL = `
insert into policy_activations (id, at, source, revision, result, reason, bundle_revision, built_at, signed_by)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
on conflict (id) do nothing`

	// UUIDs of version 7 are ordered by time. What was live last, and which signed bundle was, is never pruned, however
	// often policies are refused.
	pruneActivationsSQL = `
delete from policy_activations
where id <= (select id from policy_activations order by id desc limit 1 offset $1)
  and id is not (select id from policy_activations where result = 'activated' order by id desc limit 1)
  and id is not (select id from policy_activations where result = 'activated' and signed_by <> '' order by id desc limit 1)`

	activationColumns = `id, at, source, revision, result = 'activated', reason, bundle_revision, built_at, signed_by`

	activationsSQL = `select ` + activationColumns + ` from policy_activations order by id desc limit $1`

	liveRevisionSQL = `select revision from policy_activations where result = 'activated' order by id desc limit 1`

	lastSignedSQL = `
select ` + activationColumns + ` from policy_activations
where result = 'activated' and signed_by <> '' order by id desc limit 1`
)

// maxActivations is enough for years of changes. Only a source that breaks again and again reaches it.
const maxActivations = 10_000

// ActivationStore keeps which policies became live, and which were refused.
type ActivationStore struct{ file *connection.File }

// RecordActivation records that policies became live or were refused. Recording it again changes nothing.
func (s ActivationStore) RecordActivation(ctx context.Context, a ledger.Activation) error {
	result := "refused"
	if a.Activated {
		result = "activated"
	}
	var revision, builtAt, signedBy sql.NullString
	if bundle := a.Bundle; bundle != nil {
		revision, signedBy = present(bundle.Revision), present(bundle.SignedBy)
		if !bundle.BuiltAt.IsZero() {
			builtAt = present(bundle.BuiltAt.UTC().Format(time.RFC3339Nano))
		}
	}
	err := s.file.InTransaction(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, insertActivationSQL, a.ID.String(), connection.TimeText(a.At), a.Source, a.Revision, result, a.Reason,
			revision, builtAt, signedBy)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, pruneActivationsSQL, maxActivations)
		return err
	})
	if err != nil {
		return fmt.Errorf("recording an activation of policies: %w", connection.Explain(ctx, err))
	}
	return nil
}

func present(text string) sql.NullString { return sql.NullString{String: text, Valid: true} }

// Activations are the last so many, newest first.
func (s ActivationStore) Activations(ctx context.Context, limit int) (found []ledger.Activation, err error) {
	rows, err := s.file.Readers.QueryContext(ctx, activationsSQL, limit)
	if err != nil {
		return nil, fmt.Errorf("reading activations of policies: %w", connection.Explain(ctx, err))
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		a, err := scanActivation(rows)
		if err != nil {
			return nil, fmt.Errorf("reading an activation of policies: %w", err)
		}
		found = append(found, a)
	}
	return found, rows.Err()
}

// LastSigned is the signed bundle that a server on this file made live last, nil if none has.
func (s ActivationStore) LastSigned(ctx context.Context) (*ledger.Bundle, error) {
	last, err := scanActivation(s.file.Readers.QueryRowContext(ctx, lastSignedSQL))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading which signed policies were live last: %w", connection.Explain(ctx, err))
	}
	return last.Bundle, nil
}

// LiveRevision is that of the policies that a server on this file made live last, "" if none has.
func (s ActivationStore) LiveRevision(ctx context.Context) (string, error) {
	var revision string
	err := s.file.Readers.QueryRowContext(ctx, liveRevisionSQL).Scan(&revision)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("reading which policies are live: %w", connection.Explain(ctx, err))
	}
	return revision, nil
}

func scanActivation(row interface{ Scan(into ...any) error }) (ledger.Activation, error) {
	var a ledger.Activation
	var at string
	var revision, builtAt, signedBy sql.NullString
	err := row.Scan(&a.ID, &at, &a.Source, &a.Revision, &a.Activated, &a.Reason, &revision, &builtAt, &signedBy)
	if err != nil {
		return a, err
	}
	a.At, err = time.Parse(connection.TimeLayout, at)
	if err != nil {
		return a, err
	}
	if revision.Valid && signedBy.Valid {
		a.Bundle = &ledger.Bundle{Revision: revision.String, SignedBy: signedBy.String}
	}
	if a.Bundle != nil && builtAt.Valid {
		a.Bundle.BuiltAt, err = time.Parse(time.RFC3339Nano, builtAt.String)
	}
	return a, err
}
