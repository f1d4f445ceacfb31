package operate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/molecule-ai/gatehouse/adapters/opa/ports"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
	"github.com/molecule-ai/gatehouse/internal/background"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/audit"
	"github.com/molecule-ai/gatehouse/server/failurelog"
)

// Audit evaluates the stored workspaces. It works on the database itself, whether servers run or not.
type Audit struct {
	Run  auditRunCommand  `cmd:"" default:"withargs" help:"Evaluate every stored workspace as if it registered now."`
	List auditListCommand `cmd:"" help:"List the audits that are kept, of servers too."`
	Show auditShowCommand `cmd:"" help:"Show what an audit found."`
}

type auditRunCommand struct {
	flags.PolicySource
	flags.Database
	flags.Facts
	flags.EventSinks

	Enforce         bool `env:"-" help:"Enforce: mark workspaces failed and announce them as a live deny does. Give the sinks that serve has."`
	Fresh           bool `env:"-" help:"Begin anew, even where an interrupted audit could go on."`
	Rate            int  `env:"-" help:"Workspaces to look at in a second; 0 for as many as can be." default:"0"`
	Parallel        int  `env:"-" help:"Workspaces to look at at once; 0 for one for each core." default:"0"`
	FailOnViolation bool `help:"Exit with 1 if a workspace is denied or gives no verdict."`
	Examples        int  `env:"-" help:"How many workspaces to name for each code." default:"3"`
	cli.Form
}

// Deadlines of a command. They are longer than a server's: no registry waits for it.
const (
	auditFactsTimeout   = 5 * time.Second
	auditPolicyTimeout  = time.Second
	auditRequestTimeout = 10 * time.Second
)

// Run audits, and prints what it found.
func (c *auditRunCommand) Run(ctx context.Context, to cli.Streams) error {
	if c.Rate < 0 || c.Parallel < 0 || c.Examples < 0 {
		return errors.New("--rate, --parallel and --examples must not be negative")
	}
	rules, err := c.Load(ctx, to)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(to.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	store, err := c.open(ctx, logger)
	if err != nil {
		return err
	}
	report, err := c.audit(ctx, to, store, rules, logger)
	err = errors.Join(err, store.Close())
	if err != nil {
		return err
	}
	err = c.Write(to.Out, report, report.write)
	if err == nil && c.FailOnViolation && report.Audit.Denied+report.Audit.Failed > 0 {
		return cli.ErrSaid
	}
	return err
}

func (c *auditRunCommand) audit(
	ctx context.Context, to cli.Streams, store *flags.OpenStore, snapshot *snapshot.Snapshot, logger *slog.Logger,
) (AuditReport, error) {
	total, err := store.CountWorkspaces(ctx)
	if err != nil {
		return AuditReport{}, err
	}
	live, err := store.LiveRevision(ctx)
	if err != nil {
		return AuditReport{}, err
	}
	bar := cli.NewProgress(to.Err, total, "workspaces")
	options := audit.Options{
		Workspaces: store, Runs: store, Lock: store, Policies: func() audit.Ruleset { return ports.Audit(snapshot) },
		Candidate: snapshot.Revision() != live, Setting: c.AuditSetting(store), Evaluator: admission.Evaluator{Timeout: auditPolicyTimeout},
		Parallel: c.Parallel, Rate: c.Rate, Fresh: c.Fresh, Logger: logger,
		Progress: func(run audit.Run) { _ = bar.Set64(min(run.Evaluated, bar.GetMax64())) }, // it is an estimate
	}
	if c.Parallel == 0 {
		options.Parallel = runtime.GOMAXPROCS(0)
	}
	if c.Enforce {
		failures := failurelog.New(store, nobody{}, logger)
		keeping := background.Start(context.WithoutCancel(ctx), failures.Run)
		defer keeping.Close()
		options.Gate = &admission.Gate{
			Facts: store, Ledger: store, Failures: failures, Observer: nobody{}, Deployment: options.Deployment, Now: time.Now,
			Limits: admission.Limits{Facts: auditFactsTimeout, Policy: auditPolicyTimeout, Request: auditRequestTimeout},
		}
	}
	run, err := audit.New(options).Run(ctx)
	_ = bar.Finish()
	if err != nil && run.Evaluated > 0 && run.State != audit.Finished {
		err = fmt.Errorf("%w; after %d workspaces, where the next audit of the same kind goes on", err, run.Evaluated)
	}
	if err != nil {
		return AuditReport{}, err
	}
	return newAuditReport(ctx, store, run, c.Examples)
}

// nobody is the meter of a command, which nobody scrapes: it counts nothing.
type nobody struct{}

func (nobody) FailureKept(bool)                            {}
func (nobody) Unmasked()                                   {}
func (nobody) Reviewed(context.Context, admission.Outcome) {}

// open opens the store with its tables up to date, and with the queues of the sinks, into which an event goes in
// the transaction that marks. Servers deliver it.
func (c *auditRunCommand) open(ctx context.Context, logger *slog.Logger) (*flags.OpenStore, error) {
	factsQuery, err := c.FactsQuery()
	if err != nil {
		return nil, err
	}
	sinks, err := c.SinkConfigs()
	if err != nil {
		return nil, err
	}
	if c.Enforce && len(sinks) == 0 {
		logger.Warn("no sinks are given: nobody is told of workspaces that are marked failed")
	}
	store, err := c.Open(ctx, flags.StoreOptions{Write: true, FactsQuery: factsQuery, Sinks: sinks, Logger: logger})
	if err != nil {
		return nil, err
	}
	err = store.MigrateAll(ctx)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return store, nil
}
