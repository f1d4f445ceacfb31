package serve

import (
	"context"

	"github.com/molecule-ai/gatehouse/adapters/metrics"
	"github.com/molecule-ai/gatehouse/adapters/opa/ports"
	"github.com/molecule-ai/gatehouse/internal/background"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/audit"
)

// startAudits shows the last audit of what this server has live in the metrics, whoever made it, and audits on
// schedule, if there is one, until stop. gate is for audits that enforce.
func (c *Command) startAudits(
	ctx context.Context, p *process, live livePolicies, store *openStore, candidates *rollout, gate admission.Gate,
) (stop func()) {
	setting := c.AuditSetting(store)
	meter := metrics.NewAudit(p.registry, live, lastAudit(store, setting))
	if c.AuditInterval == 0 {
		return func() {}
	}
	options := audit.Options{
		Workspaces: store, Runs: store, Lock: store,
		Policies: func() audit.Ruleset { return ports.Audit(live.engine.Status().Snapshot) },
		Setting:  setting, Evaluator: candidates.background(c.PolicyTimeout), Rate: c.AuditRate,
		Meter: meter, Logger: p.log,
	}
	if c.AuditEnforce {
		options.Gate = &gate
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
