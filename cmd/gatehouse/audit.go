package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/molecule-ai/gatehouse/adapters/announce"
	"github.com/molecule-ai/gatehouse/adapters/announce/queue"
	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/adapters/postgres"
	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/audit"
)

// auditCommand is about what is stored. It works on the database itself, beside servers and without.
type auditCommand struct {
	Run  auditRunCommand  `cmd:"" default:"withargs" help:"Hold every stored workspace to the policies, as if it registered now."`
	List auditListCommand `cmd:"" help:"List the audits that are kept, of servers too."`
	Show auditShowCommand `cmd:"" help:"Show what an audit found."`
}

type auditRunCommand struct {
	policyFlags
	databaseFlags
	factsFlags
	sinkFlags

	Enforce         bool   `env:"-" help:"Deny: mark workspaces failed and announce them as a live deny does. Give the sinks that serve has."`
	Fresh           bool   `env:"-" help:"Begin anew, also where an audit was interrupted."`
	Rate            int    `env:"-" help:"Workspaces to look at in a second; 0 for as many as can be." default:"0"`
	Parallel        int    `env:"-" help:"Workspaces to look at at once; 0 for one for each core." default:"0"`
	FailOnViolation bool   `help:"Exit with 1 if a workspace is denied or gives no verdict."`
	Examples        int    `env:"-" help:"How many workspaces to name for each code." default:"3"`
	Output          string `help:"Form of the answer." enum:"text,json" default:"text"`
}

// Deadlines of a command, which nobody waits for as a registry does.
const (
	auditFactsTimeout   = 5 * time.Second
	auditPolicyTimeout  = time.Second
	auditRequestTimeout = 10 * time.Second
)

// Run audits, and prints what it found.
func (c *auditRunCommand) Run(ctx context.Context, to streams) error {
	if c.Rate < 0 || c.Parallel < 0 || c.Examples < 0 {
		return errors.New("--rate, --parallel and --examples must not be negative")
	}
	schema, err := inputSchema()
	if err != nil {
		return err
	}
	source := c.source()
	snapshot, err := opa.NewSnapshot(ctx, source, schema)
	if err != nil {
		return complain(to, source, err)
	}
	logger := slog.New(slog.NewTextHandler(to.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	store, err := c.open(ctx, logger)
	if err != nil {
		return err
	}
	report, err := c.audit(ctx, to, store, snapshot, logger)
	err = errors.Join(err, store.close())
	if err != nil {
		return err
	}
	err = writeAuditReport(to.out, c.Output, report)
	if err == nil && c.FailOnViolation && report.Audit.Denied+report.Audit.Failed > 0 {
		return errSaid
	}
	return err
}

func (c *auditRunCommand) audit(
	ctx context.Context, to streams, store *auditedStore, snapshot *opa.Snapshot, logger *slog.Logger,
) (auditReport, error) {
	total, err := store.CountWorkspaces(ctx)
	if err != nil {
		return auditReport{}, err
	}
	live, err := store.LiveRevision(ctx)
	if err != nil {
		return auditReport{}, err
	}
	bar := newProgress(to.err, total, "workspaces")
	options := audit.Options{
		Workspaces: store, Runs: store, Lock: store, Policies: func() audit.Ruleset { return rulesOf(snapshot) },
		Candidate: snapshot.Revision() != live, Setting: c.auditSetting(store), Evaluator: admission.Evaluator{Timeout: auditPolicyTimeout},
		Parallel: c.Parallel, Rate: c.Rate, Fresh: c.Fresh, Logger: logger,
		Progress: func(run admission.AuditRun) { _ = bar.Set64(min(run.Evaluated, bar.GetMax64())) }, // it is an estimate
	}
	if c.Parallel == 0 {
		options.Parallel = runtime.GOMAXPROCS(0)
	}
	if c.Enforce {
		failures := newFailureLog(store, unmetered{}, logger)
		keeping := startBackground(context.WithoutCancel(ctx), failures.run)
		defer keeping.close()
		options.Gate = &admission.Gate{
			Facts: store, Ledger: store, Failures: failures, Observer: observers{}, Deployment: options.Deployment, Now: time.Now,
			Limits: admission.Limits{Facts: auditFactsTimeout, Policy: auditPolicyTimeout, Request: auditRequestTimeout},
		}
	}
	run, err := audit.New(options).Run(ctx)
	_ = bar.Finish()
	if err != nil && run.Evaluated > 0 && run.State != admission.AuditFinished {
		err = fmt.Errorf("%w; after %d workspaces, where the next audit of the same kind goes on", err, run.Evaluated)
	}
	if err != nil {
		return auditReport{}, err
	}
	return newAuditReport(ctx, store, run, c.Examples)
}

// unmetered counts nothing: nobody scrapes a command.
type unmetered struct{}

func (unmetered) FailureKept(bool) {}
func (unmetered) Unmasked()        {}

// auditedStore is a store that an audit works on.
type auditedStore struct {
	auditStore
	admission.FactsReader
	admission.Ledger
	close func() error
}

// open opens the store with its tables up to date, and with the queues of the sinks, into which an event goes in
// the transaction that marks. Servers deliver it.
func (c *auditRunCommand) open(ctx context.Context, logger *slog.Logger) (*auditedStore, error) {
	err := c.checkURL()
	if err != nil {
		return nil, err
	}
	factsQuery, err := c.factsQuery()
	if err != nil {
		return nil, err
	}
	sinks, err := c.sinks()
	if err != nil {
		return nil, err
	}
	if c.Enforce && len(sinks) == 0 {
		logger.Warn("no sinks are given: nobody is told of workspaces that are marked failed")
	}
	if path, isSQLite := c.sqlitePath(); isSQLite {
		return openAuditedSQLite(ctx, sqlite.Options{Path: path, FactsQuery: factsQuery, Logger: logger}, sinks)
	}
	return openAuditedPostgres(ctx, postgres.Options{
		URL: c.DatabaseURL, MaxConns: c.DatabaseMaxConns, FactsQuery: factsQuery, Logger: logger,
	}, sinks)
}

func openAuditedSQLite(ctx context.Context, options sqlite.Options, sinks announce.SinkConfigs) (*auditedStore, error) {
	outbox, err := announce.NewSQLiteOutbox(sinks)
	if err != nil {
		return nil, err
	}
	options.Outbox = outbox
	store, err := sqlite.Open(ctx, options)
	if err != nil {
		return nil, err
	}
	err = migrateAll(ctx, store, queue.SQLite(store.Writer()))
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return &auditedStore{auditStore: store, FactsReader: store, Ledger: store, close: store.Close}, nil
}

func openAuditedPostgres(ctx context.Context, options postgres.Options, sinks announce.SinkConfigs) (*auditedStore, error) {
	outbox, err := announce.NewPostgresOutbox(sinks)
	if err != nil {
		return nil, err
	}
	options.Outbox = outbox
	store, err := postgres.Open(ctx, options)
	if err != nil {
		return nil, err
	}
	err = migrateAll(ctx, store, queue.Postgres(store.Pool()))
	if err != nil {
		store.Close()
		return nil, err
	}
	return &auditedStore{auditStore: store, FactsReader: store, Ledger: store, close: func() error {
		store.Close()
		return nil
	}}, nil
}
