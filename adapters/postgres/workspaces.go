package postgres

import (
	"context"
	_ "embed"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"gatehouse/server/admission"
)

//go:embed workspaces.sql
var workspacesSQL string

const (
	workspaceIDsSQL = "select id from workspaces where id > $1 order by id limit $2"

	// What the planner believes, -1 for a table of which it knows nothing yet.
	estimateSQL = "select reltuples::bigint from pg_class where oid = to_regclass('workspaces')"
)

// fewWorkspaces are counted sooner than an estimate of them would be trusted.
const fewWorkspaces = 10_000

// WorkspacesAfter gives up to limit stored workspaces whose ids are greater than after, in order of ids, with the
// facts that Facts gives of each.
func (s *Store) WorkspacesAfter(ctx context.Context, after uuid.UUID, limit int) ([]admission.StoredWorkspace, error) {
	list := s.listWorkspaces
	if s.factsQuery != defaultFactsQuery {
		list = s.lookUpWorkspaces
	}
	found, err := list(ctx, after, limit)
	if err != nil {
		return nil, because(ctx, fmt.Errorf("listing workspaces: %w", err))
	}
	return found, nil
}

func (s *Store) listWorkspaces(ctx context.Context, after uuid.UUID, limit int) ([]admission.StoredWorkspace, error) {
	rows, err := s.pool.Query(ctx, workspacesSQL, [16]byte(after), limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (admission.StoredWorkspace, error) {
		var id [16]byte
		var workspace []byte
		var secretKeys, globalSecretKeys []string
		err := row.Scan(&id, &workspace, &secretKeys, &globalSecretKeys)
		if err != nil {
			return admission.StoredWorkspace{}, err
		}
		facts, err := admission.NewFacts(true, workspace, secretKeys, globalSecretKeys)
		return admission.StoredWorkspace{ID: id, Facts: facts}, err
	})
}

// lookUpWorkspaces asks an operator's own facts query of each workspace, a page of them in one round trip. Those that
// it does not know of are left out.
func (s *Store) lookUpWorkspaces(ctx context.Context, after uuid.UUID, limit int) ([]admission.StoredWorkspace, error) {
	var found []admission.StoredWorkspace
	for len(found) < limit {
		rows, err := s.pool.Query(ctx, workspaceIDsSQL, [16]byte(after), limit-len(found))
		if err != nil {
			return nil, err
		}
		page, err := uuids(rows)
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

func (s *Store) factsOf(ctx context.Context, ids []uuid.UUID) ([]admission.StoredWorkspace, error) {
	known := make([]admission.StoredWorkspace, 0, len(ids))
	batch := new(pgx.Batch)
	for _, id := range ids {
		batch.Queue(s.factsQuery, [16]byte(id)).Query(func(rows pgx.Rows) error {
			facts, err := readFacts(rows)
			if errors.Is(err, admission.ErrBadFacts) { // it must be seen, and must hide no other
				known = append(known, admission.StoredWorkspace{ID: id})
				return nil
			}
			if err == nil && facts.Exists {
				known = append(known, admission.StoredWorkspace{ID: id, Facts: facts})
			}
			return err
		})
	}
	err := s.pool.SendBatch(ctx, batch).Close()
	return known, err
}

// CountWorkspaces is about how many there are: exactly, if there are few.
func (s *Store) CountWorkspaces(ctx context.Context) (int64, error) {
	var n int64
	err := s.pool.QueryRow(ctx, estimateSQL).Scan(&n)
	if err == nil && n < fewWorkspaces {
		err = s.pool.QueryRow(ctx, "select count(*) from workspaces").Scan(&n)
	}
	if err != nil {
		return 0, because(ctx, fmt.Errorf("counting workspaces: %w", err))
	}
	return n, nil
}
