package serve

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/molecule-ai/gatehouse/adapters/announce"
	"github.com/molecule-ai/gatehouse/adapters/announce/queue"
	"github.com/molecule-ai/gatehouse/adapters/metrics"
	"github.com/molecule-ai/gatehouse/adapters/migration"
	"github.com/molecule-ai/gatehouse/adapters/opa/journal"
	"github.com/molecule-ai/gatehouse/adapters/opa/recall"
	"github.com/molecule-ai/gatehouse/adapters/postgres"
	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi/resources"
	"github.com/molecule-ai/gatehouse/server/readiness"
	"github.com/molecule-ai/gatehouse/server/retention"
)

// openStore is a store with what hangs on it: the ports it fills, and how its events go out.
type openStore struct {
	*delivery
	kind       string
	facts      admission.FactsReader
	ledger     admission.Ledger
	workspaces resources.WorkspaceStore
	secretKeys resources.SecretKeyStore
	shadow     shadowStore
	audits     flags.AuditStore
	decisions  flags.DecisionStore
	pruner     retention.Store

	activations interface {
		journal.Store
		recall.History
	}
	factsReady  readiness.Probe
	ledgerReady readiness.Probe
	outboxReady readiness.Probe
	close       func()
}

// open opens the store, brings its tables up to date and starts delivering.
func (c *Command) open(ctx context.Context, registry *prometheus.Registry, reports settingReports) (*openStore, error) {
	err := c.CheckURL()
	if err != nil {
		return nil, err
	}
	factsQuery, err := c.FactsQuery()
	if err != nil {
		return nil, err
	}
	sinks, err := c.SinkConfigs()
	if err != nil {
		return nil, err
	}
	if path, isSQLite := c.SQLitePath(); isSQLite {
		return c.openSQLite(ctx, path, factsQuery, sinks, registry, reports)
	}
	return c.openPostgres(ctx, factsQuery, sinks, registry, reports)
}

func (c *Command) openPostgres(
	ctx context.Context, factsQuery string, sinks announce.SinkConfigs, registry *prometheus.Registry, reports settingReports,
) (*openStore, error) {
	logger := reports.log
	if c.Demo {
		return nil, errors.New("--demo is for SQLite: it does not write into the registry's database")
	}
	outbox, err := announce.NewPostgresOutbox(sinks)
	if err != nil {
		return nil, err
	}
	store, err := postgres.Open(ctx, postgres.Options{
		URL: c.DatabaseURL, MaxConns: c.DatabaseMaxConns, FactsQuery: factsQuery, Outbox: outbox,
		Timeout: c.RequestTimeout, Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	queue := queue.Postgres(store.Pool())
	registry.MustRegister(metrics.NewPoolCollector(store.Pool()))
	tables := &migration.Tables{Migrate: func(ctx context.Context) error { return migration.All(ctx, store, queue) }, Retry: true, Log: logger}
	out, err := startDelivery(ctx, queue, store, sinks, tables, registry, c.EventSource, reports)
	if err != nil {
		store.Close()
		return nil, err
	}
	return &openStore{
		delivery: out, kind: "postgres", facts: store, ledger: store, shadow: store, audits: store, decisions: store, pruner: store, activations: store,
		factsReady: func(ctx context.Context, _ bool) error { return store.FactsReady(ctx) },
		ledgerReady: func(ctx context.Context, suspected bool) error {
			err := tables.Ready()
			if err != nil {
				return err
			}
			return store.LedgerReady(ctx, suspected)
		},
		outboxReady: outboxProbe(sinks, queue.Ready),
		close: func() {
			out.stop()
			store.Close()
		},
	}, nil
}

func (c *Command) openSQLite(
	ctx context.Context, path, factsQuery string, sinks announce.SinkConfigs, registry *prometheus.Registry, reports settingReports,
) (*openStore, error) {
	logger := reports.log
	outbox, err := announce.NewSQLiteOutbox(sinks)
	if err != nil {
		return nil, err
	}
	store, err := sqlite.Open(ctx, sqlite.Options{Path: path, Outbox: outbox, FactsQuery: factsQuery, Logger: logger})
	if err != nil {
		return nil, err
	}
	closeStore := func() {
		err := store.Close()
		if err != nil {
			logger.Error("closing the store", "error", err)
		}
	}
	queue := queue.SQLite(store.Writer())
	tables := &migration.Tables{Migrate: func(ctx context.Context) error { return migration.All(ctx, store, queue) }, Log: logger}
	out, err := startDelivery(ctx, queue, store, sinks, tables, registry, c.EventSource, reports)
	if err != nil {
		closeStore()
		return nil, err
	}
	if c.Demo {
		err = loadDemo(ctx, store, logger)
		if err != nil {
			out.stop()
			closeStore()
			return nil, err
		}
	}
	writer := workspaceStore{store}
	return &openStore{
		delivery: out, kind: "sqlite", facts: store, ledger: store, shadow: store, audits: store, decisions: store, pruner: store, activations: store, workspaces: writer, secretKeys: writer,
		factsReady:  func(ctx context.Context, _ bool) error { return store.FactsReady(ctx) },
		ledgerReady: store.LedgerReady,
		outboxReady: outboxProbe(sinks, queue.Ready),
		close: func() {
			out.stop()
			closeStore()
		},
	}, nil
}

// outboxProbe asks nothing where there are no sinks: then no review writes into the outbox.
func outboxProbe(sinks announce.SinkConfigs, ready func(context.Context) error) readiness.Probe {
	return func(ctx context.Context, _ bool) error {
		if len(sinks) == 0 {
			return nil
		}
		err := ready(ctx)
		if err != nil {
			return &admission.Error{Code: admission.CodeNotReady, Detail: "announcements cannot be written", Err: err}
		}
		return nil
	}
}

func loadDemo(ctx context.Context, store *sqlite.Store, logger *slog.Logger) error {
	n, err := store.LoadDemo(ctx)
	if err != nil {
		return err
	}
	logger.Info("demo workspaces are loaded", "new", n)
	return nil
}

// workspaceStore gives the server its own errors.
type workspaceStore struct {
	store *sqlite.Store
}

func (w workspaceStore) PutWorkspace(ctx context.Context, id uuid.UUID, workspace admission.Workspace) error {
	return serverError(w.store.PutWorkspace(ctx, id, workspace))
}

func (w workspaceStore) DeleteWorkspace(ctx context.Context, id uuid.UUID) error {
	return serverError(w.store.DeleteWorkspace(ctx, id))
}

func (w workspaceStore) PutSecretKey(ctx context.Context, id uuid.UUID, key string) error {
	return serverError(w.store.PutSecretKey(ctx, id, key))
}

func (w workspaceStore) DeleteSecretKey(ctx context.Context, id uuid.UUID, key string) error {
	return serverError(w.store.DeleteSecretKey(ctx, id, key))
}

func serverError(err error) error {
	switch {
	case errors.Is(err, sqlite.ErrUnknownWorkspace):
		return resources.ErrUnknownWorkspace
	case errors.Is(err, sqlite.ErrInvalid):
		return admission.Malformed("the workspace or the secret's name cannot be stored like this")
	default:
		return err
	}
}

// Both ways of a queue's transaction are wired here, so that a mismatch shows when this is compiled.
var (
	_ postgres.Outbox = (*announce.Outbox[pgx.Tx])(nil)
	_ sqlite.Outbox   = (*announce.Outbox[*sql.Tx])(nil)
)
