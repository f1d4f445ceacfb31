package sqlite

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/adapters/sqlite/connection"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/audit"
)

const idsAfterSQL = `select id from workspaces where id > $1 order by id limit $2`

// WorkspacesAfter gives up to limit stored workspaces whose ids are greater than after, in order of ids, all as of
// one snapshot. Their facts are asked for one by one, as Facts does: only so are they what an operator's facts query
// says. A workspace that such a query does not know is left out.
func (s *Store) WorkspacesAfter(ctx context.Context, after uuid.UUID, limit int) ([]audit.StoredWorkspace, error) {
	found, err := s.workspacesAfter(ctx, after, limit)
	if err != nil {
		return nil, fmt.Errorf("reading stored workspaces: %w", connection.Explain(ctx, err))
	}
	return found, nil
}

func (s *Store) workspacesAfter(ctx context.Context, after uuid.UUID, limit int) (_ []audit.StoredWorkspace, err error) {
	tx, err := s.file.Readers.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer connection.Rollback(tx)
	facts, err := tx.PrepareContext(ctx, s.factsQuery)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, facts.Close()) }()
	found := make([]audit.StoredWorkspace, 0, limit)
	for len(found) < limit {
		ids, err := connection.Collect(ctx, tx, connection.ScanID, idsAfterSQL, after.String(), limit-len(found))
		if err != nil || len(ids) == 0 {
			return found, err
		}
		for _, id := range ids {
			known, err := readFacts(facts.QueryContext(ctx, id.String())) //nolint:rowserrcheck // readFacts does
			if err != nil && !errors.Is(err, admission.ErrBadFacts) {
				return nil, err
			}
			if err != nil || known.Exists { // a bad row must be seen, and must hide no other
				found = append(found, audit.StoredWorkspace{ID: id, Facts: known})
			}
		}
		after = ids[len(ids)-1]
	}
	return found, nil
}

// CountWorkspaces is how many there are.
func (s *Store) CountWorkspaces(ctx context.Context) (int64, error) {
	var n int64
	err := s.file.Readers.QueryRowContext(ctx, `select count(*) from workspaces`).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("counting workspaces: %w", connection.Explain(ctx, err))
	}
	return n, nil
}
