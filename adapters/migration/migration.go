// Package migration brings the tables of a store and of its queue up to date.
package migration

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/molecule-ai/gatehouse/server/admission"
)

type Migrator interface {
	Migrate(ctx context.Context) error
}

// QueueMigrator also says whether there is something to do, because River's migrations need rights even when
// there is not.
type QueueMigrator interface {
	Migrator
	Pending(ctx context.Context) (bool, error)
}

// All migrates the store first: it makes the schema in which the queue has its tables.
func All(ctx context.Context, store Migrator, queue QueueMigrator) error {
	err := store.Migrate(ctx)
	if err != nil {
		return err
	}
	pending, err := queue.Pending(ctx)
	if err != nil || !pending {
		return err
	}
	return queue.Migrate(ctx)
}

// Tables brings the tables up to date when the server starts. A database that cannot be reached is tried
// again in the background, and the server is not ready until it was: a replica that starts while the database
// restarts must not die of it.
type Tables struct {
	Migrate func(ctx context.Context) error
	Retry   bool
	Log     *slog.Logger
	done    atomic.Bool
}

func (t *Tables) Ready() error {
	if !t.done.Load() {
		return &admission.Error{Code: admission.CodeNotReady, Detail: "the tables are not migrated yet"}
	}
	return nil
}

const (
	firstMigration = 5 * time.Second // before the server goes on without
	onlyMigration  = time.Minute     // of a server that does not go on without, on a machine that may be busy
	migrationRetry = time.Second
)

// Start migrates and then calls next, now or in the background. Errors that waiting cannot mend are returned.
func (t *Tables) Start(ctx context.Context, next func()) error {
	patience := onlyMigration
	if t.Retry {
		patience = firstMigration
	}
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := t.try(limited, next)
	if err == nil || !t.Retry || !isAway(err) {
		return err
	}
	t.Log.Warn("the database cannot be reached; trying again", "error", err)
	go func() {
		for ctx.Err() == nil && t.try(ctx, next) != nil {
			select {
			case <-ctx.Done():
			case <-time.After(migrationRetry):
			}
		}
	}()
	return nil
}

func (t *Tables) try(ctx context.Context, next func()) error {
	err := t.Migrate(ctx)
	if err != nil {
		return err
	}
	t.done.Store(true)
	next()
	return nil
}

// isAway says whether err is of a server that is not there, not yet there or full, rather than of one that
// says no.
func isAway(err error) bool {
	var refusal *pgconn.PgError
	if errors.As(err, &refusal) {
		switch refusal.Code[:2] {
		case "57", "53", "08": // shutting down or starting, out of resources, connection lost
			return true
		}
		return false
	}
	var connecting *pgconn.ConnectError
	return errors.As(err, &connecting) || errors.Is(err, context.DeadlineExceeded) || pgconn.SafeToRetry(err)
}
