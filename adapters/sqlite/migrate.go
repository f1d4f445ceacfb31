package sqlite

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/molecule-ai/gatehouse/adapters/sqlite/connection"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// ErrNewer says that the file was made by a newer Gatehouse than this one.
var ErrNewer = errors.New("the SQLite file was made by a newer version of Gatehouse")

// Migrate brings the tables up to this version. Of several processes that do so at once, one works and the
// others wait for it.
func (s *Store) Migrate(ctx context.Context) (err error) {
	provider, err := s.migrations()
	if err != nil {
		return fmt.Errorf("migrating the SQLite store: %w", err)
	}
	// The store's own lock would not do: goose takes and releases it for every migration, and two processes that
	// both found the same one pending would both run it.
	unlock, err := s.file.LockFile(ctx, ".migration-lock", time.Minute)
	if err != nil {
		return fmt.Errorf("waiting for another migration of the SQLite store: %w", connection.Explain(ctx, err))
	}
	defer func() { err = errors.Join(err, unlock()) }()

	have, want, err := provider.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("reading the version of the SQLite store: %w", connection.Explain(ctx, err))
	}
	if have > want {
		return fmt.Errorf("%w: its tables are of version %d, this program knows %d", ErrNewer, have, want)
	}
	applied, err := provider.Up(ctx)
	if err != nil {
		return fmt.Errorf("migrating the SQLite store: %w", connection.Explain(ctx, err))
	}
	for _, m := range applied {
		s.logger.InfoContext(ctx, "migrated the SQLite store",
			"version", m.Source.Version, "file", m.Source.Path, "duration", m.Duration)
	}
	return nil
}

// Pending are the versions of the migrations that Migrate has to apply. It changes nothing.
func (s *Store) Pending(ctx context.Context) ([]int64, error) {
	pending, err := s.pending(ctx)
	if err != nil {
		return nil, fmt.Errorf("looking for pending migrations: %w", connection.Explain(ctx, err))
	}
	return pending, nil
}

func (s *Store) pending(ctx context.Context) ([]int64, error) {
	provider, err := s.migrations()
	if err != nil {
		return nil, err
	}
	var begun bool
	err = s.file.Readers.QueryRowContext(ctx,
		`select exists (select 1 from sqlite_schema where name = $1)`, goose.DefaultTablename).Scan(&begun)
	if err != nil {
		return nil, err
	}
	var pending []int64
	for _, source := range provider.ListSources() {
		applied := false
		if begun {
			err = s.file.Readers.QueryRowContext(ctx,
				`select exists (select 1 from goose_db_version where version_id = $1)`, source.Version).Scan(&applied)
		}
		if err != nil {
			return nil, err
		}
		if !applied {
			pending = append(pending, source.Version)
		}
	}
	return pending, nil
}

func (s *Store) migrations() (*goose.Provider, error) {
	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectSQLite3, s.file.Writer, files,
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
}
