package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Ready says why reviews cannot be answered, nil if they can: the facts query keeps its contract and runs, and
// the schema gatehouse is there and up to date.
func (s *Store) Ready(ctx context.Context) error {
	err := s.CheckFacts(ctx)
	if err != nil {
		return err
	}
	_, err = s.Facts(ctx, uuid.Nil)
	if err != nil {
		return err
	}
	pending, err := s.Pending(ctx)
	if err != nil {
		return err
	}
	if len(pending) > 0 {
		return fmt.Errorf("the schema gatehouse lacks the migrations %v; run gatehouse migrate", pending)
	}
	_, err = s.pool.Exec(ctx, "select from gatehouse.decisions limit 1")
	if err != nil {
		return because(ctx, fmt.Errorf("reading the table of decisions: %w", err))
	}
	return nil
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
		return false, because(ctx, fmt.Errorf("reading the status of a workspace: %w", err))
	}
	return failed, nil
}
