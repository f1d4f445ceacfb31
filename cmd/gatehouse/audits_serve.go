package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/molecule-ai/gatehouse/adapters/metrics"
	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/audit"
	"github.com/molecule-ai/gatehouse/server/httpapi"
)

// auditFlags say when serve audits the stored workspaces.
type auditFlags struct {
	AuditInterval time.Duration `help:"How often every stored workspace is held to the live policies; 0 for never. See docs/operations.md." default:"0s"`
	AuditRate     int           `help:"Workspaces that the audit looks at in a second; 0 for as many as it can." default:"2000"`
	AuditEnforce  bool          `help:"The audit denies: workspaces whose violations mark are marked failed, and announced."`
}

func (f auditFlags) check(dryRun bool) error {
	switch {
	case f.AuditInterval < 0:
		return errors.New("--audit-interval must not be negative")
	case f.AuditRate < 0:
		return errors.New("--audit-rate must not be negative")
	case f.AuditEnforce && dryRun:
		return errors.New("--audit-enforce and --dry-run contradict each other")
	default:
		return nil
	}
}

// auditStore is what audits need of a store.
type auditStore interface {
	audit.Workspaces
	audit.Runs
	audit.Lock
	httpapi.AuditReader
	CountWorkspaces(ctx context.Context) (int64, error)
	FactsRevision() string
	LiveRevision(ctx context.Context) (string, error)
}

// auditParts are what serve has of what an audit is made of.
type auditParts struct {
	engine     *opa.Engine
	store      *openStore
	candidates *rollout
	reviews    *metrics.Admission
	failures   *failureLog
}

// startAudits shows the last audit of what this server has live in the metrics, whoever made it, and audits on
// schedule, if there is one, until stop.
func (c *serveCommand) startAudits(ctx context.Context, p auditParts, registry *prometheus.Registry, logger *slog.Logger) (stop func()) {
	setting := c.auditSetting(p.store.audits)
	meter := metrics.NewAudit(registry, livePolicies{engine: p.engine}, lastAudit(p.store.audits, setting))
	if c.AuditInterval == 0 {
		return func() {}
	}
	options := audit.Options{
		Workspaces: p.store.audits, Runs: p.store.audits, Lock: p.store.audits,
		Policies: func() audit.Ruleset { return rulesOf(p.engine.Status().Snapshot) },
		Setting:  setting, Evaluator: p.candidates.background(c.PolicyTimeout), Rate: c.AuditRate,
		Meter: meter, Logger: logger,
	}
	if c.AuditEnforce {
		options.Gate = &admission.Gate{
			Facts: p.store.facts, Ledger: p.store.ledger, Failures: p.failures,
			Observer:   observers{p.reviews, httpapi.ReviewLog{Logger: logger}}, // and not the shadow, which is shown live traffic
			Limits:     admission.Limits{Facts: c.FactsTimeout, Policy: c.PolicyTimeout, Request: c.RequestTimeout},
			Deployment: setting.Deployment, Now: time.Now, Turns: admission.Holding{Weighted: p.candidates.turns},
		}
	}
	audits := audit.New(options)
	return startBackground(ctx, func(ctx context.Context) { audits.Schedule(ctx, c.AuditInterval) }).close
}

// rulesOf gives no policies where there is no snapshot.
func rulesOf(snapshot *opa.Snapshot) audit.Ruleset {
	if snapshot == nil {
		return nil
	}
	return auditRules{snapshot.Checked()}
}

// auditRules are policies for an audit, which has the time to decide by both evaluators.
type auditRules struct{ opa.Checked }

// OfStored implements audit.Ruleset.
func (r auditRules) OfStored(ctx context.Context, hook string, known []string) (audit.Stored, error) {
	rules, read, notJudged, err := r.Snapshot.OfStored(ctx, hook, known)
	if err != nil {
		return audit.Stored{}, err
	}
	return audit.Stored{Rules: rules.Checked(), Read: read, NotJudged: notJudged}, nil
}

// auditSetting is what verdicts depend on in a process with these flags.
func (f factsFlags) auditSetting(store auditStore) audit.Setting {
	return audit.Setting{Deployment: admission.Deployment{SaaS: f.SaaS}, FactsRevision: store.FactsRevision()}
}

func lastAudit(store audit.Runs, setting audit.Setting) metrics.LastAudit {
	return func(ctx context.Context) (*admission.AuditRun, error) {
		runs, err := store.Audits(ctx, audit.Most)
		return setting.Last(runs), err
	}
}
