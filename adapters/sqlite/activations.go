package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"gatehouse/server/admission"
)

const (
	insertActivationSQL = `
insert into policy_activations (id, at, source, revision, result, reason) values ($1, $2, $3, $4, $5, $6)
on conflict (id) do nothing`

	// UUIDs of version 7 are ordered by time.
	pruneActivationsSQL = `
delete from policy_activations
where id <= (select id from policy_activations order by id desc limit 1 offset $1)`

	activationsSQL = `
select id, at, source, revision, result = 'activated', reason from policy_activations order by id desc limit $1`
)

// maxActivations is for years of changes; only a source that is broken again and again reaches it.
const maxActivations = 10_000

// RecordActivation records that policies became live or were refused. Recording it again changes nothing.
func (s *Store) RecordActivation(ctx context.Context, a admission.PolicyActivation) error {
	result := "refused"
	if a.Activated {
		result = "activated"
	}
	err := s.inTransaction(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, insertActivationSQL, a.ID.String(), timeText(a.At), a.Source, a.Revision, result, a.Reason)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, pruneActivationsSQL, maxActivations)
		return err
	})
	if err != nil {
		return fmt.Errorf("recording an activation of policies: %w", explain(ctx, err))
	}
	return nil
}

// Activations are the last so many, newest first.
func (s *Store) Activations(ctx context.Context, limit int) (found []admission.PolicyActivation, err error) {
	rows, err := s.readers.QueryContext(ctx, activationsSQL, limit)
	if err != nil {
		return nil, fmt.Errorf("reading activations of policies: %w", explain(ctx, err))
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var a admission.PolicyActivation
		var at string
		err = rows.Scan(&a.ID, &at, &a.Source, &a.Revision, &a.Activated, &a.Reason)
		if err != nil {
			return nil, fmt.Errorf("reading an activation of policies: %w", err)
		}
		a.At, err = time.Parse(timeLayout, at)
		if err != nil {
			return nil, err
		}
		found = append(found, a)
	}
	return found, rows.Err()
}
