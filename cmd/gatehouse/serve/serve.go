// Package serve wires adapters into the server: Command.Run reads top to bottom.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/molecule-ai/gatehouse/adapters/decisionlog"
	"github.com/molecule-ai/gatehouse/adapters/metrics"
	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/adapters/opa/journal"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
	"github.com/molecule-ai/gatehouse/internal/background"
	"github.com/molecule-ai/gatehouse/internal/lograte"
	"github.com/molecule-ai/gatehouse/internal/profiles"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/failurelog"
	"github.com/molecule-ai/gatehouse/server/httpapi"
	"github.com/molecule-ai/gatehouse/server/httpapi/auth"
	"github.com/molecule-ai/gatehouse/server/httpapi/resources"
	"github.com/molecule-ai/gatehouse/server/readiness"
	"github.com/molecule-ai/gatehouse/server/replay"
	"github.com/molecule-ai/gatehouse/server/retention"
)

type Command struct {
	flags.PolicySource
	feedFlags
	rolloutFlags
	evaluatorFlags
	flags.Database
	flags.Facts
	flags.EventSinks
	auditFlags
	uploadFlags
	retentionFlags
	adminFlags

	Listen string `help:"Address and port. Beyond loopback only with caller authentication." default:"127.0.0.1:8181"`
	Demo   bool   `help:"Put a handful of demo workspaces into the SQLite file."`

	TokensFile    string `help:"YAML file of the callers' tokens (names, roles, SHA-256 hashes). Read again when it changes." placeholder:"FILE" type:"existingfile"`
	RegistryToken string `type:"secret" help:"Token of the one registry that calls; a variable is the better place for it." placeholder:"TOKEN"`

	FactsTimeout    time.Duration `help:"Deadline of the facts query." default:"500ms"`
	PolicyTimeout   time.Duration `help:"Deadline of an evaluation." default:"250ms"`
	RequestTimeout  time.Duration `help:"Deadline of a request, from its arrival to its answer; at most 2m." default:"2s"`
	ShutdownDelay   time.Duration `help:"How long the server goes on answering after SIGTERM, not ready, before it takes no new connection." default:"5s"`
	ShutdownTimeout time.Duration `help:"How long requests under way may take to end when the server is told to stop." default:"10s"`

	MaxBodyBytes  int64 `help:"Largest body of a request." default:"1048576"`
	MaxBatchBytes int64 `help:"Largest body of a batch." default:"16777216"`
	MaxDepth      int   `help:"Deepest nesting of a body." default:"64"`
	MaxInFlight   int   `help:"Requests that are answered at once; more are refused as overloaded." default:"1024"`
	BatchParallel int   `help:"Reviews of one batch that are decided at once." default:"16"`
	RateLimit     int   `help:"Requests that one caller may send in a second; 0 for no limit." default:"0"`

	LogLevel  string `help:"Least level that is logged: debug, info, warn, error." enum:"debug,info,warn,error" default:"info"`
	LogFormat string `help:"Form of log lines." enum:"json,text" default:"json"`
}

// Run serves until it is told to stop, and then finishes and records what is under way.
func (c *Command) Run(ctx context.Context, to cli.Streams, version cli.Version) error {
	hangups := make(chan os.Signal, 1) // from the first moment on: a SIGHUP that nobody waits for ends the process
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	err := c.check()
	if err != nil {
		return err
	}
	logger, flush := c.Logger(to)
	defer flush()
	p := newProcess(version, logger)
	tokens, err := c.tokens(p.settings)
	if err != nil {
		return err
	}
	listener, err := c.listen(ctx, tokens.callers, logger)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }() // closed already when the server has served
	if c.Pprof {
		admin, err := profiles.Start(ctx, c.AdminListen, logger)
		if err != nil {
			return err
		}
		defer admin.Close()
	}
	return c.serveOn(ctx, listener, p, tokens, hangups, to)
}

// serveOn loads the policies, opens the store, puts what serves together and serves until ctx ends.
func (c *Command) serveOn(ctx context.Context, listener net.Listener, p *process, tokens *callerTokens, hangups <-chan os.Signal, to cli.Streams) error {
	logger := p.log
	schema := flags.InputSchema()
	records := journal.New(logger)
	engine := opa.NewEngine(schema, time.Now, c.engineOptions(records))
	policies, store, err := c.loadAndOpen(ctx, p, engine, to)
	if err == nil {
		defer store.close()
	}
	if ctx.Err() != nil {
		logger.Info("stopped before it served")
		return nil
	}
	if err != nil {
		return err
	}

	candidates := c.startRollout(ctx, p, engine, store)
	defer candidates.close()
	verifier := c.startVerifying(p, engine, candidates)
	defer verifier.Close()

	pruning := retention.Keeper{Store: store, Keep: c.Retention, Now: time.Now, Meter: metrics.NewRetention(p.registry), Log: logger}
	following := background.Start(ctx, policies.run, policies.recall.Run, tokens.run, pruning.Run,
		func(ctx context.Context) { records.Run(ctx, store) })
	defer following.Close()

	live := livePolicies{engine, c.MaxPolicyAge}
	p.registry.MustRegister(metrics.NewPolicyCollector(live))
	reviews := metrics.NewAdmission(p.registry, live)
	failures := failurelog.New(store, reviews, logger)
	keeping := background.Start(context.WithoutCancel(ctx), failures.Run) // requests that finish after the signal fail too
	defer keeping.Close()

	observed := observers{reviews, httpapi.ReviewLog{Logger: logger}}
	gate := c.gate(store, failures, candidates, observed)
	stopAudits := c.startAudits(ctx, p, live, store, candidates, gate)
	defer stopAudits()

	evidence, err := c.followDecisions(ctx, p, store)
	if err != nil {
		return err
	}
	defer evidence.close()

	ready := newReadiness(p, live, store)
	defer ready.Close()

	gate.Policy, gate.DryRun = engine, c.DryRun
	gate.Observer = slices.Concat(observed, observers{candidates, verifier, ready}) // candidates are not shown audits
	service, err := c.service(p, &gate, live, store, candidates, tokens.callers, evidence, ready)
	if err != nil {
		return err
	}
	go c.reloadOnSignal(ctx, hangups, policies, candidates, tokens)
	source, revision := policies.named()
	logger.Info("serving", "address", listener.Addr().String(), "store", store.kind, "policies", source,
		"policy_revision", revision, "version", string(p.version))
	return c.serveUntilTold(ctx, listener, service, ready, logger)
}

// check refuses limits that would switch a promise off.
func (c *Command) check() error {
	for _, limit := range []struct {
		flag  string
		value int64
	}{
		{"max-body-bytes", c.MaxBodyBytes}, {"max-batch-bytes", c.MaxBatchBytes}, {"max-depth", int64(c.MaxDepth)},
		{"shadow-queue", int64(c.ShadowQueue)},
		{"policies-max-bytes", c.PoliciesMaxBytes}, {"policies-max-files", int64(c.PoliciesMaxFiles)},
		{"max-in-flight", int64(c.MaxInFlight)}, {"batch-parallel", int64(c.BatchParallel)},
		{"database-max-conns", int64(c.DatabaseMaxConns)},
	} {
		if limit.value <= 0 {
			return fmt.Errorf("--%s must be more than 0", limit.flag)
		}
	}
	for _, limit := range []struct {
		flag         string
		value, least time.Duration
	}{
		{"facts-timeout", c.FactsTimeout, time.Millisecond}, {"policy-timeout", c.PolicyTimeout, time.Millisecond},
		{"request-timeout", c.RequestTimeout, 10 * time.Millisecond}, {"shutdown-timeout", c.ShutdownTimeout, time.Millisecond},
	} {
		if limit.value < limit.least { // nothing is ever done within less
			return fmt.Errorf("--%s must be at least %s", limit.flag, limit.least)
		}
	}
	if c.RateLimit < 0 {
		return errors.New("--rate-limit must not be negative")
	}
	if c.ShutdownDelay < 0 {
		return errors.New("--shutdown-delay must not be negative")
	}
	if c.RequestTimeout > failurelog.MaxAge {
		return fmt.Errorf("--request-timeout must be at most %v: exports take for complete what is %v old", failurelog.MaxAge, decisionlog.SettledAfter)
	}
	for _, check := range []func() error{
		c.auditFlags.check, c.evaluatorFlags.check, c.uploadFlags.check, c.retentionFlags.check, c.feedFlags.check,
	} {
		err := check()
		if err != nil {
			return err
		}
	}
	if c.AuditEnforce && c.DryRun {
		return errors.New("--audit-enforce and --dry-run contradict each other")
	}
	return nil
}

// errorPause is the time in which errors of one kind are one line.
const errorPause = time.Second

// Logger gives the server's log. flush writes what it holds back.
func (c *Command) Logger(to cli.Streams) (logger *slog.Logger, flush func()) {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.LogLevel)) // the flag's enum has no other value
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: readableDurations}
	var lines slog.Handler = slog.NewJSONHandler(to.Err, options)
	if c.LogFormat == "text" {
		lines = slog.NewTextHandler(to.Err, options)
	}
	handler := lograte.New(lines, errorPause)
	return slog.New(handler), handler.Close
}

// readableDurations writes 1.5s where JSON would have 1500000000.
func readableDurations(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		return slog.String(a.Key, a.Value.Duration().String())
	}
	return a
}

// listen refuses to be reached from other machines by whoever likes.
func (c *Command) listen(ctx context.Context, callers *auth.Authenticator, logger *slog.Logger) (net.Listener, error) {
	address, err := net.ResolveTCPAddr("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	if callers.Open() {
		if !address.IP.IsLoopback() {
			return nil, fmt.Errorf("--listen %s is beyond loopback and callers are not authenticated: "+
				"set --tokens-file or GATEHOUSE_REGISTRY_TOKEN, or listen on 127.0.0.1", c.Listen)
		}
		logger.Warn("callers are not authenticated, so only loopback is served; set --tokens-file or GATEHOUSE_REGISTRY_TOKEN")
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address.String())
	if err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	return listener, nil
}

// process is what the parts of a server share.
type process struct {
	version  cli.Version
	log      *slog.Logger
	registry *prometheus.Registry
	settings settingReports
}

func newProcess(version cli.Version, logger *slog.Logger) *process {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), metrics.NewBuildInfo(string(version)),
	)
	return &process{version, logger, registry, settingReports{meter: metrics.NewSettings(registry), log: logger}}
}

// gate is what live reviews and audits that enforce have in common.
func (c *Command) gate(store *openStore, failures *failurelog.Log, candidates *rollout, observer admission.Observer) admission.Gate {
	return admission.Gate{
		Facts: store, Ledger: store, Failures: failures, Observer: observer,
		Limits:     admission.Limits{Facts: c.FactsTimeout, Policy: c.PolicyTimeout, Request: c.RequestTimeout},
		Deployment: admission.Deployment{SaaS: c.SaaS},
		Now:        time.Now, Turns: admission.Holding{Weighted: candidates.turns},
	}
}

// service wires the HTTP service.
func (c *Command) service(
	p *process, gate *admission.Gate, live livePolicies, store *openStore, candidates *rollout,
	callers *auth.Authenticator, evidence *evidence, ready *readiness.Readiness,
) (*httpapi.Server, error) {
	bench := newWorkshop(live.engine)
	requests := metrics.NewHTTP(p.registry)
	service := httpapi.New(httpapi.Options{
		Reviewer: gate, Policies: live, Workspaces: store.workspaces, SecretKeys: store.secretKeys,
		Authenticator: callers, Shadow: candidates, DryRun: c.DryRun,
		WhatIf: httpapi.WhatIfOptions{
			Policies: bench, Facts: store, Timeout: c.FactsTimeout, Deployment: gate.Deployment,
			Evaluator: admission.Evaluator{Turns: gate.Turns, Timeout: c.PolicyTimeout},
		},
		Replays: resources.ReplayOptions{
			RunsOptions: replay.RunsOptions{
				Records: store, Evaluator: candidates.background(c.PolicyTimeout), Now: time.Now, Logger: p.log,
			},
			Policies: replayPolicies{bench, candidates},
		},
		Events: store.events, Decisions: store, DecisionStream: evidence.hub, Announcements: store.announcements, Audits: store,
		Ready:    ready.Check,
		Metrics:  promhttp.HandlerFor(p.registry, promhttp.HandlerOpts{Registry: p.registry}),
		Observer: requests, Logger: p.log,
		RequestTimeout: c.RequestTimeout, MaxBodyBytes: c.MaxBodyBytes, MaxBatchBytes: c.MaxBatchBytes, MaxDepth: c.MaxDepth,
		MaxInFlight: c.MaxInFlight, BatchParallel: c.BatchParallel, RateLimit: c.RateLimit,
	})
	routes, err := service.Routes()
	if err != nil {
		return nil, err
	}
	for _, route := range routes {
		requests.Expect(route.Pattern, route.Method, route.Statuses)
	}
	return service, nil
}

// observers tells several observers.
type observers []admission.Observer

func (all observers) Reviewed(ctx context.Context, o admission.Outcome) {
	for _, one := range all {
		one.Reviewed(ctx, o)
	}
}

// reloadOnSignal looks at policies and tokens at once on SIGHUP. What is refused leaves what there was.
func (c *Command) reloadOnSignal(
	ctx context.Context, hangups <-chan os.Signal, policies *feed, candidates *rollout, tokens *callerTokens,
) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			policies.reload(ctx)
			tokens.reload()
			candidates.loader.Load(ctx)
		}
	}
}
