package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/adapters/sqlite/connection"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// LedgerReady says why no decision can be recorded, nil if one can: the tables are up to date, and a commit is written
// to the disk. suspected means that reviews have just failed to record decisions. Then a decision is written and rolled back,
// too. That costs more, and finds faults that only some writes meet.
func (s *Store) LedgerReady(ctx context.Context, suspected bool) error {
	err := s.file.CheckPlace()
	if err != nil {
		return connection.ExplainLedger(ctx, err)
	}
	pending, err := s.Pending(ctx)
	if err != nil {
		return connection.ExplainLedger(ctx, err)
	}
	if len(pending) > 0 {
		return admission.LedgerUnavailable("the tables are not migrated",
			fmt.Errorf("the SQLite store lacks the migrations %v; run gatehouse migrate", pending))
	}
	err = connection.OnConnection(ctx, s.file.Writer, func(c *connection.Connection) error {
		if suspected {
			err := tryToRecord(ctx, c)
			if err != nil {
				return err
			}
		}
		return c.InTransaction(ctx, func(ctx context.Context) error {
			return errors.Join(s.file.CheckPlace(), touch(ctx, c))
		})
	})
	if err != nil {
		// Waiting for a lock does not end with ctx, and says more than that ctx has ended.
		return fmt.Errorf("trying to write: %w", connection.ExplainLedger(context.WithoutCancel(ctx), err))
	}
	return nil
}

// FactsReady says why facts cannot be read, nil if they can: connections that are open go on reading a file that is gone,
// and new ones cannot.
func (s *Store) FactsReady(ctx context.Context) error {
	err := s.file.CheckPlace()
	if err != nil {
		return connection.ExplainLedger(ctx, err)
	}
	return s.CheckFacts(ctx)
}

// touch writes the version that the file has already, which nobody reads: the smallest change that a commit has to put on
// the disk.
func touch(ctx context.Context, c *connection.Connection) error {
	return c.Run(ctx, `pragma user_version = 0`)
}

var errTakenBack = errors.New("taken back")

// tryToRecord writes a decision and rolls it back.
func tryToRecord(ctx context.Context, c *connection.Connection) error {
	probe, err := admission.NewProbe(time.Now())
	if err != nil {
		return err
	}
	made, err := newRow(probe)
	if err != nil {
		return err
	}
	insert, err := c.Statement(ctx, insertDecisionSQL)
	if err != nil {
		return err
	}
	claim, err := c.Statement(ctx, claimUIDSQL)
	if err != nil {
		return err
	}
	err = c.InTransaction(ctx, func(ctx context.Context) error {
		_, err := claim.ExecContext(ctx, made.claim)
		if err != nil {
			return err
		}
		_, err = insert.ExecContext(ctx, made.decision)
		if err != nil {
			return err
		}
		return errTakenBack
	})
	if errors.Is(err, errTakenBack) {
		return nil
	}
	return err
}

// StillFailed says whether the workspace is marked failed now, for who acts on a mark after its transaction:
// the registry may have set another status meanwhile. A row that is gone is not failed.
func (s *Store) StillFailed(ctx context.Context, workspaceID uuid.UUID) (bool, error) {
	var failed bool
	err := s.file.Readers.QueryRowContext(ctx,
		`select exists (select 1 from workspaces where id = $1 and status = 'failed')`, workspaceID.String()).Scan(&failed)
	if err != nil {
		return false, fmt.Errorf("reading the status of a workspace: %w", connection.Explain(ctx, err))
	}
	return failed, nil
}
