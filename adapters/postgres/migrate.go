package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/molecule-ai/gatehouse/adapters/postgres/connection"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	versionTable = "gatehouse.goose_db_version"

	// migrationLock is the advisory lock under which replicas that start together migrate one after the other.
	// Any number does that no other program on this database uses.
	migrationLock = 4715282836
)

// Migrate brings the schema gatehouse up to date, however many processes try at a time. Where nothing is to be
// done it needs no right to change the schema.
func (s *Store) Migrate(ctx context.Context) error {
	// Not from the pool: a migration may take longer than a request's statement.
	config, err := s.pool.ConnConfig(ctx)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	for _, timeout := range []string{"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"} {
		delete(config.RuntimeParams, timeout)
	}
	db := stdlib.OpenDB(*config)
	err = s.migrate(ctx, db)
	return errors.Join(err, db.Close())
}

func (s *Store) migrate(ctx context.Context, db *sql.DB) error {
	err := createSchema(ctx, db)
	if err != nil {
		return fmt.Errorf("creating the schema gatehouse: %w", err)
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockID(migrationLock), lock.WithLockTimeout(1, 300))
	if err != nil {
		return fmt.Errorf("making the migrations' lock: %w", err)
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("opening the migrations: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithTableName(versionTable),
		goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("reading the migrations: %w", err)
	}
	applied, err := provider.Up(ctx)
	if err != nil {
		return fmt.Errorf("migrating the schema gatehouse: %w", err)
	}
	for _, m := range applied {
		s.logger.InfoContext(ctx, "migrated the schema gatehouse",
			"version", m.Source.Version, "file", m.Source.Path, "duration", m.Duration)
	}
	return nil
}

// createSchema looks first: "create schema if not exists" needs the right to create one even if it exists,
// which the role that serves does not have. The lock is there because two at once would collide in spite of
// "if not exists".
func createSchema(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()

	_, err = tx.ExecContext(ctx, "select pg_advisory_xact_lock($1)", migrationLock)
	if err != nil {
		return err
	}
	var exists bool
	err = tx.QueryRowContext(ctx, "select exists (select from pg_namespace where nspname = 'gatehouse')").Scan(&exists)
	if err != nil || exists {
		return err
	}
	_, err = tx.ExecContext(ctx, "create schema gatehouse")
	if err != nil {
		return err
	}
	return tx.Commit()
}

// Pending are the versions of the migrations that have not been applied.
func (s *Store) Pending(ctx context.Context) ([]int64, error) {
	wanted, err := migrationVersions()
	if err != nil {
		return nil, err
	}
	var begun bool
	err = s.pool.QueryRow(ctx, "select to_regclass($1) is not null", versionTable).Scan(&begun)
	if err != nil {
		return nil, connection.Explain(ctx, fmt.Errorf("looking for the table of migrations: %w", err))
	}
	if !begun {
		return wanted, nil
	}

	rows, err := s.pool.Query(ctx, "select version_id from "+versionTable+" where is_applied")
	if err != nil {
		return nil, connection.Explain(ctx, fmt.Errorf("reading the table of migrations: %w", err))
	}
	applied, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, connection.Explain(ctx, fmt.Errorf("reading the table of migrations: %w", err))
	}
	return slices.DeleteFunc(wanted, func(v int64) bool { return slices.Contains(applied, v) }), nil
}

func migrationVersions() ([]int64, error) {
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return nil, fmt.Errorf("listing the migrations: %w", err)
	}
	versions := make([]int64, 0, len(files))
	for _, file := range files {
		version, err := goose.NumericComponent(file)
		if err != nil {
			return nil, fmt.Errorf("reading the version of a migration: %w", err)
		}
		versions = append(versions, version)
	}
	return versions, nil
}
