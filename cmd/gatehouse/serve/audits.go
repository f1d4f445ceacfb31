package serve

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/molecule-ai/gatehouse/adapters/metrics"
	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/adapters/opa/ports"
	"github.com/molecule-ai/gatehouse/internal/background"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/audit"
	"github.com/molecule-ai/gatehouse/server/failurelog"
	"github.com/molecule-ai/gatehouse/server/httpapi"
)

// auditParts are what serve has of what an audit is made of.
type auditParts struct {
	engine     *opa.Engine
	store      *openStore
	candidates *rollout
	reviews    *metrics.Admission
	failures   *failurelog.Log
}

// startAudits shows the last audit of what this server has live in the metrics, whoever made it, and audits on
// schedule, if there is one, until stop.
func (c *Command) startAudits(ctx context.Context, p auditParts, registry *prometheus.Registry, logger *slog.Logger) (stop func()) {
	setting := c.AuditSetting(p.store.audits)
	meter := metrics.NewAudit(registry, livePolicies{engine: p.engine}, lastAudit(p.store.audits, setting))
	if c.AuditInterval == 0 {
		return func() {}
	}
	options := audit.Options{
		Workspaces: p.store.audits, Runs: p.store.audits, Lock: p.store.audits,
		Policies: func() audit.Ruleset { return ports.Audit(p.engine.Status().Snapshot) },
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
	return background.Start(ctx, func(ctx context.Context) { audits.Schedule(ctx, c.AuditInterval) }).Close
}

func lastAudit(store audit.Runs, setting audit.Setting) metrics.LastAudit {
	return func(ctx context.Context) (*audit.Run, error) {
		runs, err := store.Audits(ctx, audit.Most)
		return setting.Last(runs), err
	}
}
