package flags

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/molecule-ai/gatehouse/adapters/announce"
	"github.com/molecule-ai/gatehouse/adapters/announce/operator"
	"github.com/molecule-ai/gatehouse/adapters/announce/queue"
	"github.com/molecule-ai/gatehouse/adapters/migration"
	"github.com/molecule-ai/gatehouse/adapters/postgres"
	"github.com/molecule-ai/gatehouse/adapters/sqlite"
)

// Database says where facts and decisions are kept.
type Database struct {
	DatabaseURL      string `type:"secret" name:"database-url" help:"postgres://… of the registry's database, or sqlite:PATH of a file of Gatehouse's own." default:"sqlite:data/gatehouse.db"`
	DatabaseMaxConns int32  `help:"Connections to Postgres." default:"16"`
}

// SQLitePath gives the path of a sqlite: URL.
func (f Database) SQLitePath() (string, bool) {
	return strings.CutPrefix(f.DatabaseURL, "sqlite:")
}

// CheckURL refuses a URL of no store.
func (f Database) CheckURL() error {
	_, isSQLite := f.SQLitePath()
	isPostgres := strings.HasPrefix(f.DatabaseURL, "postgres://") || strings.HasPrefix(f.DatabaseURL, "postgresql://")
	if !isSQLite && !isPostgres {
		return errors.New("--database-url is neither postgres://… nor sqlite:PATH")
	}
	return nil
}

// StoreOptions are those of a store that a command opens. The zero values are for one that is only read.
type StoreOptions struct {
	// Write lets SQLite make a file that is not there.
	Write      bool
	FactsQuery string
	// Announce puts events into the queues of Sinks, in the transaction that marks. Servers deliver them.
	Announce bool
	Sinks    announce.SinkConfigs
	Logger   *slog.Logger
}

// OpenStore is a store that a command works on, with its queue.
type OpenStore struct {
	Store
	Announcements func() (*operator.Announcements, error)
	Close         func() error

	queue migration.QueueMigrator
}

// MigrateAll brings the tables of the store and of the queue up to date.
func (s *OpenStore) MigrateAll(ctx context.Context) error {
	return migration.All(ctx, s.Store, s.queue)
}

// WithStore opens the store to read it, and closes it when do has ended. No tables are made.
func (f Database) WithStore(ctx context.Context, do func(*OpenStore) error) error {
	store, err := f.Open(ctx, StoreOptions{})
	if err != nil {
		return err
	}
	return errors.Join(do(store), store.Close())
}

// Open opens the store that the flags name.
func (f Database) Open(ctx context.Context, o StoreOptions) (*OpenStore, error) {
	err := f.CheckURL()
	if err != nil {
		return nil, err
	}
	path, isSQLite := f.SQLitePath()
	if !isSQLite {
		return f.openPostgres(ctx, o)
	}
	if !o.Write {
		_, err = os.Stat(strings.TrimPrefix(path, "file:")) // opening would make the file
		if err != nil {
			return nil, fmt.Errorf("--database-url: %w", err)
		}
	}
	return openSQLite(ctx, path, o)
}

func (f Database) openPostgres(ctx context.Context, o StoreOptions) (*OpenStore, error) {
	options := postgres.Options{URL: f.DatabaseURL, MaxConns: f.DatabaseMaxConns, FactsQuery: o.FactsQuery, Logger: o.Logger}
	if o.Announce {
		outbox, err := announce.NewPostgresOutbox(o.Sinks)
		if err != nil {
			return nil, err
		}
		options.Outbox = outbox
	}
	store, err := postgres.Open(ctx, options)
	if err != nil {
		return nil, err
	}
	jobs := queue.Postgres(store.Pool())
	return &OpenStore{
		Store: store, queue: jobs,
		Announcements: func() (*operator.Announcements, error) { return operator.NewAnnouncements(jobs, nil) },
		Close:         func() error { store.Close(); return nil },
	}, nil
}

func openSQLite(ctx context.Context, path string, o StoreOptions) (*OpenStore, error) {
	options := sqlite.Options{Path: path, FactsQuery: o.FactsQuery, Logger: o.Logger}
	if o.Announce {
		outbox, err := announce.NewSQLiteOutbox(o.Sinks)
		if err != nil {
			return nil, err
		}
		options.Outbox = outbox
	}
	store, err := sqlite.Open(ctx, options)
	if err != nil {
		return nil, err
	}
	jobs := queue.SQLite(store.Writer())
	return &OpenStore{
		Store: store, queue: jobs,
		Announcements: func() (*operator.Announcements, error) { return operator.NewAnnouncements(jobs, nil) },
		Close:         store.Close,
	}, nil
}
