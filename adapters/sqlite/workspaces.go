package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	codes "modernc.org/sqlite/lib"

	"github.com/molecule-ai/gatehouse/adapters/sqlite/connection"
	"github.com/molecule-ai/gatehouse/server/admission"
)

var (
	// ErrUnknownWorkspace says that no workspace of that id is stored.
	ErrUnknownWorkspace = errors.New("no workspace of this id is stored")
	// ErrInvalid: a workspace cannot be stored, because the registry has no such kind or status.
	ErrInvalid = errors.New("the workspace cannot be stored like this")
)

const (
	putWorkspaceSQL = `
		insert into workspaces (id, name, kind, status, tier, runtime, role, url, parent_id, workspace_access,
		                        workspace_dir, budget_limit, monthly_spend, last_sample_error, delivery_mode, updated_at)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
		on conflict (id) do update set
			name = excluded.name, kind = excluded.kind, status = excluded.status, tier = excluded.tier,
			runtime = excluded.runtime, role = excluded.role, url = excluded.url, parent_id = excluded.parent_id,
			workspace_access = excluded.workspace_access, workspace_dir = excluded.workspace_dir,
			budget_limit = excluded.budget_limit, monthly_spend = excluded.monthly_spend,
			last_sample_error = excluded.last_sample_error, delivery_mode = excluded.delivery_mode,
			updated_at = excluded.updated_at`

	putSecretKeySQL = `insert into workspace_secrets (workspace_id, key) values ($1, $2) on conflict do nothing`

	storedSQL = `select exists (select 1 from workspaces where id = $1)`
)

// execer is the writer or a transaction on it.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// PutWorkspace stores all that a registry tells of a workspace in place of what was stored, and leaves the
// names of its secrets alone. It returns ErrInvalid for a kind or status that the registry does not have.
func (s *Store) PutWorkspace(ctx context.Context, id uuid.UUID, w admission.Workspace) error {
	err := putWorkspace(ctx, s.file.Writer, id, w)
	if err != nil {
		return fmt.Errorf("storing a workspace: %w", explainPut(ctx, err))
	}
	return nil
}

// putWorkspace does not touch the row's secrets: "insert or replace" would delete them with the row.
func putWorkspace(ctx context.Context, to execer, id uuid.UUID, w admission.Workspace) error {
	_, err := to.ExecContext(ctx, putWorkspaceSQL,
		id.String(), w.Name, w.Kind, w.Status, w.Tier, w.Runtime, w.Role, w.URL, w.ParentID, w.WorkspaceAccess,
		w.WorkspaceDir, w.BudgetLimit, w.MonthlySpend, w.LastSampleError, w.DeliveryMode, connection.TimeText(time.Now()))
	return err
}

// DeleteWorkspace forgets a workspace and the names of its secrets; its decisions and events stay. It returns
// ErrUnknownWorkspace if there is none.
func (s *Store) DeleteWorkspace(ctx context.Context, id uuid.UUID) error {
	deleted, err := s.file.Writer.ExecContext(ctx, `delete from workspaces where id = $1`, id.String())
	if err != nil {
		return fmt.Errorf("deleting a workspace: %w", explainPut(ctx, err))
	}
	count, err := deleted.RowsAffected()
	if err != nil {
		return fmt.Errorf("deleting a workspace: %w", err)
	}
	if count == 0 {
		return ErrUnknownWorkspace
	}
	return nil
}

// PutSecretKey stores that a workspace has a secret of this name. It returns ErrUnknownWorkspace if there is
// no such workspace, and nil if the name is stored already.
func (s *Store) PutSecretKey(ctx context.Context, id uuid.UUID, key string) error {
	err := putSecretKey(ctx, s.file.Writer, id, key)
	if err != nil {
		return fmt.Errorf("storing the name of a secret: %w", explainPut(ctx, err))
	}
	return nil
}

func putSecretKey(ctx context.Context, to execer, id uuid.UUID, key string) error {
	_, err := to.ExecContext(ctx, putSecretKeySQL, id.String(), key)
	return err
}

// DeleteSecretKey forgets the name of a secret. It returns ErrUnknownWorkspace if there is no such workspace,
// and nil if it has no secret of this name.
func (s *Store) DeleteSecretKey(ctx context.Context, id uuid.UUID, key string) error {
	_, err := s.file.Writer.ExecContext(ctx,
		`delete from workspace_secrets where workspace_id = $1 and key = $2`, id.String(), key)
	if err != nil {
		return fmt.Errorf("deleting the name of a secret: %w", explainPut(ctx, err))
	}
	var stored bool
	err = s.file.Readers.QueryRowContext(ctx, storedSQL, id.String()).Scan(&stored)
	if err != nil {
		return fmt.Errorf("deleting the name of a secret: %w", explainPut(ctx, err))
	}
	if !stored {
		return ErrUnknownWorkspace
	}
	return nil
}

// explainPut says in err what a registry can do wrong.
func explainPut(ctx context.Context, err error) error {
	switch connection.CodeOf(err) {
	case codes.SQLITE_CONSTRAINT_FOREIGNKEY:
		return fmt.Errorf("%w: %w", ErrUnknownWorkspace, err)
	case codes.SQLITE_CONSTRAINT_CHECK:
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	default:
		return connection.ExplainLedger(ctx, err)
	}
}
