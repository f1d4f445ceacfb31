package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/molecule-ai/gatehouse/adapters/announce/queue"
	"github.com/molecule-ai/gatehouse/adapters/postgres"
	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/server/admission"
)

type migrateCommand struct {
	databaseFlags
}

// Run brings the tables up to date, so that serve may run as a role that cannot change them.
func (c *migrateCommand) Run(ctx context.Context, to streams) error {
	err := c.checkURL()
	if err != nil {
		return err
	}
	if path, isSQLite := c.sqlitePath(); isSQLite {
		err = migrateSQLite(ctx, path)
	} else {
		err = migratePostgres(ctx, c.DatabaseURL)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(to.out, "the tables are up to date")
	return err
}

func migrateSQLite(ctx context.Context, path string) error {
	store, err := sqlite.Open(ctx, sqlite.Options{Path: path})
	if err != nil {
		return err
	}
	return errors.Join(migrateAll(ctx, store, queue.SQLite(store.Writer())), store.Close())
}

func migratePostgres(ctx context.Context, url string) error {
	store, err := postgres.Open(ctx, postgres.Options{URL: url})
	if err != nil {
		return err
	}
	defer store.Close()
	return migrateAll(ctx, store, queue.Postgres(store.Pool()))
}

type migrator interface {
	Migrate(ctx context.Context) error
}

// queueMigrator also says whether there is something to do, because River's migrations need rights even when
// there is not.
type queueMigrator interface {
	migrator
	Pending(ctx context.Context) (bool, error)
}

// migrateAll migrates the store first: it makes the schema in which the queue has its tables.
func migrateAll(ctx context.Context, store migrator, queue queueMigrator) error {
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

// tables brings the tables up to date when the server starts. A database that cannot be reached is tried
// again in the background, and the server is not ready until it was: a replica that starts while the database
// restarts must not die of it.
type tables struct {
	migrate func(ctx context.Context) error
	retry   bool
	log     *slog.Logger
	done    atomic.Bool
}

func (t *tables) ready() error {
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

// start migrates and then calls next, now or in the background. Errors that waiting cannot mend are returned.
func (t *tables) start(ctx context.Context, next func()) error {
	patience := onlyMigration
	if t.retry {
		patience = firstMigration
	}
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := t.try(limited, next)
	if err == nil || !t.retry || !isAway(err) {
		return err
	}
	t.log.Warn("the database cannot be reached; trying again", "error", err)
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

func (t *tables) try(ctx context.Context, next func()) error {
	err := t.migrate(ctx)
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
