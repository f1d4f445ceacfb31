package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/rivermigrate"
)

// Migrate brings the queue's tables up to date. On Postgres the schema gatehouse
// must be there. Any number of processes may call it at the same time.
func (d *Database[TTx]) Migrate(ctx context.Context) error {
	migrator, err := d.migrator()
	if err != nil {
		return err
	}
	err = d.exclusively(ctx, func(ctx context.Context) error {
		_, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
		if err != nil || d.trim == "" {
			return err
		}
		return d.driver.GetExecutor().Exec(ctx, d.trim)
	})
	if err != nil {
		return fmt.Errorf("migrating the announcements' tables: %w", err)
	}
	return nil
}

// Pending says whether Migrate has something to do. It only reads, so that a
// server whose role may not change tables can still find that it need not.
func (d *Database[TTx]) Pending(ctx context.Context) (bool, error) {
	migrator, err := d.migrator()
	if err != nil {
		return false, err
	}
	result, err := migrator.Validate(ctx, nil)
	if err != nil {
		return false, fmt.Errorf("looking at the version of the announcements' tables: %w", err)
	}
	return !result.OK, nil
}

func (d *Database[TTx]) migrator() (*rivermigrate.Migrator[TTx], error) {
	migrator, err := rivermigrate.New(d.driver, &rivermigrate.Config{
		Schema: d.schema,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, fmt.Errorf("preparing the announcements' migrations: %w", err)
	}
	return migrator, nil
}

// advisoryLock lets one process migrate at a time. River commits each migration by itself, so a session holds the lock. The
// session has a connection of its own, because a pool of one connection could not give a second.
type advisoryLock struct{ pool *pgxpool.Pool }

// lockKey is any number that nothing else in the database locks: "announce".
const lockKey int64 = 0x616e6e6f756e6365

func (l advisoryLock) hold(ctx context.Context, migrate func(context.Context) error) error {
	config := l.pool.Config()
	if config.BeforeConnect != nil {
		err := config.BeforeConnect(ctx, config.ConnConfig)
		if err != nil {
			return fmt.Errorf("connecting for the migration lock: %w", err)
		}
	}
	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	if err != nil {
		return fmt.Errorf("connecting for the migration lock: %w", err)
	}
	_, err = conn.Exec(ctx, "select pg_advisory_lock($1)", lockKey)
	if err != nil {
		err = fmt.Errorf("taking the migration lock: %w", err)
	} else {
		err = migrate(ctx)
	}
	// Closing the connection gives the lock back, whatever state it is in.
	return errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
}

// untilNobodyInterferes is for SQLite, which has no lock that outlives a transaction. Of two processes that migrate one file
// at the same time, one fails. It tries again and finds the work done.
func untilNobodyInterferes(ctx context.Context, migrate func(context.Context) error) error {
	const tries, pause = 10, 100 * time.Millisecond
	var err error
	for range tries {
		err = migrate(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
	return err
}
