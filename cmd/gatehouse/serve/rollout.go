package serve

import (
	"context"
	"log/slog"
	"runtime"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/molecule-ai/gatehouse/adapters/metrics"
	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/adapters/opa/sources"
	"github.com/molecule-ai/gatehouse/adapters/opa/verify"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi/resources"
	"github.com/molecule-ai/gatehouse/server/shadow"
)

// shadowStore is what the shadow needs of a store.
type shadowStore interface {
	shadow.Store
	ShadowSummary(ctx context.Context, pair shadow.Pair, examples int) (shadow.Summary, error)
}

// rollout is the candidate beside the live policies.
type rollout struct {
	*shadow.Shadow
	loader *shadow.Loader
	engine *opa.Engine
	store  shadowStore
	turns  *semaphore.Weighted // of live evaluations
	log    *slog.Logger
}

func (c *Command) startRollout(ctx context.Context, p *process, engine *opa.Engine, store shadowStore) *rollout {
	p.registry.MustRegister(metrics.NewDryRun(c.DryRun))
	if c.DryRun {
		p.log.Warn("DRY RUN: nothing is enforced; every deny is recorded and answered as an allow, and no workspace is marked failed")
	}
	// Two for each core: one computes, and the other is ready when the first has ended.
	turns := semaphore.NewWeighted(int64(2 * runtime.GOMAXPROCS(0)))
	r := &rollout{engine: engine, store: store, turns: turns, log: p.log}
	meter := metrics.NewShadow(p.registry)
	r.Shadow = shadow.New(shadow.Options{
		Store: store, Meter: meter, Logger: p.log,
		Evaluator: r.background(c.PolicyTimeout), Queue: c.ShadowQueue,
	})
	var source shadow.Source
	if c.ShadowPolicies != "" {
		from := c.PolicySource // fetched and trusted as the live ones are
		from.Policies = c.ShadowPolicies
		source = candidateSource{from: from, engine: engine, meter: meter}
	}
	r.loader = shadow.NewLoader(r.Shadow, source, p.log)
	r.loader.Load(ctx)
	return r
}

// background is the evaluator for work that no request waits for.
func (r *rollout) background(timeout time.Duration) admission.Evaluator {
	return admission.Evaluator{Turns: admission.Yielding{Weighted: r.turns}, Timeout: timeout}
}

func (r *rollout) close() {
	r.loader.Close()
	r.Close()
}

// candidateSource is where the candidate of --shadow-policies comes from.
type candidateSource struct {
	from   flags.PolicySource
	engine *opa.Engine
	meter  *metrics.Shadow
}

// Name implements shadow.Source.
func (s candidateSource) Name() string { return sources.Shown(s.from.Policies) }

// Candidate implements shadow.Source.
func (s candidateSource) Candidate(ctx context.Context) (*shadow.Candidate, error) {
	snapshot, err := s.check(ctx)
	if err != nil || snapshot.Revision() == liveRevision(s.engine) {
		return nil, err
	}
	s.meter.Expect(snapshot.Codes())
	s.meter.Expect(livePolicies{engine: s.engine}.Codes())
	return &shadow.Candidate{Rules: snapshot, Revision: snapshot.Revision(), Source: snapshot.Source(), Since: time.Now().UTC()}, nil
}

// check fetches the candidate and checks it like live policies.
func (s candidateSource) check(ctx context.Context) (*snapshot.Snapshot, error) {
	if s.from.IsEmbedded() {
		return s.engine.Candidate(ctx, flags.Embedded())
	}
	limited, cancel := context.WithTimeout(ctx, flags.FetchTimeout)
	defer cancel()
	origin, err := s.from.Origin(sources.Options{})
	if err != nil {
		return nil, err
	}
	fetched, err := origin.Fetch(limited, "")
	if err == nil {
		err = fetched.Refused
	}
	if err != nil {
		return nil, err
	}
	return s.engine.Candidate(limited, fetched.Source)
}

func liveRevision(engine *opa.Engine) string {
	live := engine.Status().Snapshot
	if live == nil {
		return ""
	}
	return live.Revision()
}

// ShadowStatus implements resources.Shadow.
func (r *rollout) ShadowStatus(ctx context.Context, examples int) (resources.ShadowStatus, error) {
	status := resources.ShadowStatus{Queued: r.Queued()}
	if refused := r.loader.Refused(); refused != nil {
		status.Refused = &resources.PolicyRefusal{Source: refused.Source, At: refused.At, Reason: refused.Err.Error()}
	}
	candidate := r.Candidate()
	if candidate == nil {
		return status, nil
	}
	status.Candidate = candidate
	summary, err := r.store.ShadowSummary(ctx, shadow.Pair{Live: liveRevision(r.engine), Candidate: candidate.Revision}, examples)
	status.Summary = &summary
	return status, err
}

// Promote implements resources.Shadow.
func (r *rollout) Promote(ctx context.Context, revision, caller string) (resources.Promotion, error) {
	var done resources.Promotion
	err := r.Shadow.Promote(revision, func(c *shadow.Candidate) error {
		snapshot, _ := c.Rules.(*snapshot.Snapshot) // load gave it one
		previous, err := r.engine.Promote(context.WithoutCancel(ctx), snapshot)
		if err != nil {
			return &admission.Error{Code: admission.CodeCandidateChanged, Detail: err.Error()}
		}
		done = resources.Promotion{Revision: c.Revision, Source: c.Source, Previous: previous, At: time.Now().UTC()}
		return nil
	})
	if err == nil {
		r.log.Warn("the candidate policies were promoted and are live; the next load of --policies replaces them, so change that source too",
			"policy_revision", done.Revision, "source", done.Source, "previous_revision", done.Previous, "caller", caller)
	}
	return done, err
}

// startVerifying verifies until the verifier is closed.
func (c *Command) startVerifying(p *process, engine *opa.Engine, candidates *rollout) *verify.Verifier {
	return verify.New(verify.Options{
		Policies: engine, Meter: metrics.NewVerify(p.registry), Logger: p.log, Share: c.VerifyShare,
		Evaluator: candidates.background(c.PolicyTimeout),
	})
}
