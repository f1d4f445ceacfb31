package flags

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

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
	// Sinks have the queues into which events go in the transaction that marks. Servers deliver them.
	Sinks   announce.SinkConfigs
	Timeout time.Duration
	Logger  *slog.Logger
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
		store, err := f.OpenPostgres(ctx, o)
		if err != nil {
			return nil, err
		}
		return newOpenStore(store, queue.Postgres(store.Pool()), func() error { store.Close(); return nil }), nil
	}
	if !o.Write {
		_, err = os.Stat(strings.TrimPrefix(path, "file:")) // opening would make the file
		if err != nil {
			return nil, fmt.Errorf("--database-url: %w", err)
		}
	}
	store, err := f.OpenSQLite(ctx, o)
	if err != nil {
		return nil, err
	}
	return newOpenStore(store, queue.SQLite(store.Writer()), store.Close), nil
}

func newOpenStore[TTx any](store Store, jobs *queue.Database[TTx], closeStore func() error) *OpenStore {
	return &OpenStore{
		Store: store, queue: jobs, Close: closeStore,
		Announcements: func() (*operator.Announcements, error) { return operator.NewAnnouncements(jobs, nil) },
	}
}

// OpenPostgres opens the store of a URL that is no SQLite file's.
func (f Database) OpenPostgres(ctx context.Context, o StoreOptions) (*postgres.Store, error) {
	outbox, err := announce.NewPostgresOutbox(o.Sinks)
	if err != nil {
		return nil, err
	}
	return postgres.Open(ctx, postgres.Options{
		URL: f.DatabaseURL, MaxConns: f.DatabaseMaxConns, FactsQuery: o.FactsQuery, Outbox: outbox, Timeout: o.Timeout, Logger: o.Logger,
	})
}

// OpenSQLite opens the store of a SQLite file.
func (f Database) OpenSQLite(ctx context.Context, o StoreOptions) (*sqlite.Store, error) {
	outbox, err := announce.NewSQLiteOutbox(o.Sinks)
	if err != nil {
		return nil, err
	}
	path, _ := f.SQLitePath()
	return sqlite.Open(ctx, sqlite.Options{Path: path, FactsQuery: o.FactsQuery, Outbox: outbox, Logger: o.Logger})
}
