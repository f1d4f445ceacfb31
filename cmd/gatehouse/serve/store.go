package serve

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

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
	"github.com/molecule-ai/gatehouse/server/shadow"
)

// anyStore is what serve needs of a store, of either kind.
type anyStore interface {
	flags.Store
	eventStore
	shadow.Store
	retention.Store
	journal.Store
	recall.History
	FactsReady(ctx context.Context) error
	LedgerReady(ctx context.Context, suspected bool) error
}

// openStore is a store with what hangs on it, and how its events go out.
type openStore struct {
	anyStore
	*delivery

	kind        string
	workspaces  resources.WorkspaceStore // nil where the registry has them
	secretKeys  resources.SecretKeyStore
	ledgerReady readiness.Probe
	outboxReady readiness.Probe
	close       func()
}

// open opens the store, brings its tables up to date and starts delivering.
func (c *Command) open(ctx context.Context, p *process) (*openStore, error) {
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
	options := flags.StoreOptions{FactsQuery: factsQuery, Sinks: sinks, Timeout: c.RequestTimeout, Logger: p.log}
	if _, isSQLite := c.SQLitePath(); isSQLite {
		return c.openSQLite(ctx, p, options)
	}
	return c.openPostgres(ctx, p, options)
}

func (c *Command) openPostgres(ctx context.Context, p *process, options flags.StoreOptions) (*openStore, error) {
	if c.Demo {
		return nil, errors.New("--demo is for SQLite: it does not write into the registry's database")
	}
	store, err := c.OpenPostgres(ctx, options)
	if err != nil {
		return nil, err
	}
	p.registry.MustRegister(metrics.NewPoolCollector(store.Pool()))
	queue := queue.Postgres(store.Pool())
	tables := &migration.Tables{Migrate: func(ctx context.Context) error { return migration.All(ctx, store, queue) }, Retry: true, Log: p.log}
	opened := &openStore{anyStore: store, kind: "postgres", close: store.Close}
	return opened, deliver(ctx, p, opened, queue, tables, options.Sinks, c.EventSource)
}

func (c *Command) openSQLite(ctx context.Context, p *process, options flags.StoreOptions) (*openStore, error) {
	store, err := c.OpenSQLite(ctx, options)
	if err != nil {
		return nil, err
	}
	queue := queue.SQLite(store.Writer())
	tables := &migration.Tables{Migrate: func(ctx context.Context) error { return migration.All(ctx, store, queue) }, Log: p.log}
	writer := workspaceStore{store}
	opened := &openStore{anyStore: store, kind: "sqlite", workspaces: writer, secretKeys: writer, close: func() {
		err := store.Close()
		if err != nil {
			p.log.Error("closing the store", "error", err)
		}
	}}
	err = deliver(ctx, p, opened, queue, tables, options.Sinks, c.EventSource)
	if err == nil && c.Demo {
		err = loadDemo(ctx, store, p.log)
		if err != nil {
			opened.close()
		}
	}
	return opened, err
}

// deliver starts to deliver the events of a store, which then closes with its deliveries; it closes the store where that
// fails.
func deliver[TTx any](
	ctx context.Context, p *process, store *openStore, queue *queue.Database[TTx], tables *migration.Tables,
	sinks announce.SinkConfigs, source string,
) error {
	closeStore := store.close
	out, err := startDelivery(ctx, p, queue, store, sinks, tables, source)
	if err != nil {
		closeStore()
		return err
	}
	store.delivery = out
	store.ledgerReady = func(ctx context.Context, suspected bool) error {
		err := tables.Ready()
		if err != nil {
			return err
		}
		return store.LedgerReady(ctx, suspected)
	}
	store.outboxReady = outboxProbe(sinks, queue.Ready)
	store.close = func() {
		out.stop()
		closeStore()
	}
	return nil
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

// The compiler checks here that an outbox takes the transactions of its store.
var (
	_ postgres.Outbox = (*announce.Outbox[pgx.Tx])(nil)
	_ sqlite.Outbox   = (*announce.Outbox[*sql.Tx])(nil)
)
