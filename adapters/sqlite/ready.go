package sqlite

import (
	"context"
	"fmt"

	"github.com/google/uuid"
)

// Ready says why reviews cannot be answered, nil if they can: the tables are there and up to date, and the
// facts query keeps its contract.
func (s *Store) Ready(ctx context.Context) error {
	pending, err := s.Pending(ctx)
	if err != nil {
		return err
	}
	if len(pending) > 0 {
		return fmt.Errorf("the SQLite store lacks the migrations %v; run gatehouse migrate", pending)
	}
	return s.CheckFacts(ctx)
}

// StillFailed says whether the workspace is marked failed now, for who acts on a mark after its transaction:
// the registry may have set another status meanwhile. A row that is gone is not failed.
func (s *Store) StillFailed(ctx context.Context, workspaceID uuid.UUID) (bool, error) {
	var failed bool
	err := s.readers.QueryRowContext(ctx,
		`select exists (select 1 from workspaces where id = $1 and status = 'failed')`, workspaceID.String()).Scan(&failed)
	if err != nil {
		return false, fmt.Errorf("reading the status of a workspace: %w", explain(ctx, err))
	}
	return failed, nil
}
