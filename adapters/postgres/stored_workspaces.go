package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/molecule-ai/gatehouse/adapters/postgres/connection"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/audit"
)

const (
	workspaceIDsSQL = "select id from workspaces where id > $1 order by id limit $2"

	// What the planner believes, -1 for a table of which it knows nothing yet.
	estimateSQL = "select reltuples::bigint from pg_class where oid = to_regclass('workspaces')"
)

// fewWorkspaces are counted sooner than an estimate of them would be trusted.
const fewWorkspaces = 10_000

// WorkspacesAfter gives up to limit stored workspaces whose ids are greater than after, in order of ids, with the
// facts that Facts gives of each. Those that an operator's own facts query does not know of are left out.
func (s *Store) WorkspacesAfter(ctx context.Context, after uuid.UUID, limit int) ([]audit.StoredWorkspace, error) {
	found, err := s.listWorkspaces(ctx, after, limit)
	if err != nil {
		return nil, connection.Explain(ctx, fmt.Errorf("listing workspaces: %w", err))
	}
	return found, nil
}

func (s *Store) listWorkspaces(ctx context.Context, after uuid.UUID, limit int) ([]audit.StoredWorkspace, error) {
	var found []audit.StoredWorkspace
	for len(found) < limit {
		rows, err := s.pool.Query(ctx, workspaceIDsSQL, [16]byte(after), limit-len(found))
		if err != nil {
			return nil, err
		}
		page, err := pgx.CollectRows(rows, pgx.RowTo[[16]byte])
		if err != nil || len(page) == 0 {
			return found, err
		}
		known, err := s.factsOf(ctx, page)
		if err != nil {
			return nil, err
		}
		found = append(found, known...)
		after = page[len(page)-1]
	}
	return found, nil
}

func (s *Store) factsOf(ctx context.Context, ids [][16]byte) ([]audit.StoredWorkspace, error) {
	known := make([]audit.StoredWorkspace, 0, len(ids))
	var broken error
	given := 0
	batch := new(pgx.Batch)
	s.queueFacts(batch, ids, func(id uuid.UUID, facts admission.Facts, err error) {
		given++
		switch {
		case errors.Is(err, admission.ErrBadFacts): // it must be seen, and must hide no other
			known = append(known, audit.StoredWorkspace{ID: id})
		case err != nil:
			broken = err
		case facts.Exists:
			known = append(known, audit.StoredWorkspace{ID: id, Facts: facts})
		}
	})
	err := s.pool.SendBatch(ctx, batch).Close()
	if err != nil {
		return nil, err
	}
	if given != len(ids) { // an audit must not take a workspace for one that is not there
		return nil, errNotGiven
	}
	slices.SortFunc(known, func(a, b audit.StoredWorkspace) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return known, broken
}

// CountWorkspaces is about how many there are: exactly, if there are few.
func (s *Store) CountWorkspaces(ctx context.Context) (int64, error) {
	var n int64
	err := s.pool.QueryRow(ctx, estimateSQL).Scan(&n)
	if err == nil && n < fewWorkspaces {
		err = s.pool.QueryRow(ctx, "select count(*) from workspaces").Scan(&n)
	}
	if err != nil {
		return 0, connection.Explain(ctx, fmt.Errorf("counting workspaces: %w", err))
	}
	return n, nil
}
