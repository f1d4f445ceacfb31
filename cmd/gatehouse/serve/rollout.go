package serve

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/molecule-ai/gatehouse/adapters/metrics"
	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/adapters/opa/sources"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi"
	"github.com/molecule-ai/gatehouse/server/shadow"
)

// rolloutFlags are for policies that are to be watched before they decide.
type rolloutFlags struct {
	DryRun         bool   `help:"Enforce nothing: every deny is recorded, and answered as an allow with warnings. See docs/operations.md."`
	ShadowPolicies string `help:"Candidate policies, from where --policies may be, that are evaluated beside the live ones. See docs/shadow.md." placeholder:"SOURCE"`
	ShadowQueue    int    `help:"Reviews that may wait for the candidate policies; more are not shown to them." default:"1024"`
}

// shadowStore is what the shadow needs of a store.
type shadowStore interface {
	shadow.Store
	ShadowSummary(ctx context.Context, pair admission.ShadowPair, examples int) (admission.ShadowSummary, error)
}

// rollout is the candidate beside the live policies.
type rollout struct {
	*shadow.Shadow
	source flags.PolicySource // of the candidate; none is configured if its Policies is empty
	engine *opa.Engine
	store  shadowStore
	turns  *semaphore.Weighted // of live evaluations
	meter  *metrics.Shadow
	log    *slog.Logger

	refused atomic.Pointer[httpapi.PolicyRefusal]
	loading sync.Mutex // one load at a time
	loads   sync.WaitGroup
}

// startRollout loads the candidate in the background: it must not keep the server from serving.
func (c *Command) startRollout(
	ctx context.Context, engine *opa.Engine, store shadowStore, registry *prometheus.Registry, logger *slog.Logger,
) *rollout {
	registry.MustRegister(metrics.NewDryRun(c.DryRun))
	if c.DryRun {
		logger.Warn("DRY RUN: nothing is enforced; every deny is recorded and answered as an allow, and no workspace is marked failed")
	}
	// Two for each core: one that computes, and one that is ready to when the first lets go of it.
	turns := semaphore.NewWeighted(int64(2 * runtime.GOMAXPROCS(0)))
	r := &rollout{source: c.PolicySource, engine: engine, store: store, turns: turns, meter: metrics.NewShadow(registry), log: logger}
	r.source.Policies = c.ShadowPolicies // fetched and trusted as the live ones are
	r.Shadow = shadow.New(shadow.Options{
		Store: store, Meter: r.meter, Logger: logger,
		Evaluator: r.background(c.PolicyTimeout), Queue: c.ShadowQueue,
	})
	r.load(ctx)
	return r
}

// background evaluates what nobody waits for.
func (r *rollout) background(timeout time.Duration) admission.Evaluator {
	return admission.Evaluator{Turns: admission.Yielding{Weighted: r.turns}, Timeout: timeout}
}

// load reads the candidate, again after a SIGHUP. One that is refused, or is what is live, is none.
func (r *rollout) load(ctx context.Context) {
	if r.source.Policies == "" {
		return
	}
	r.Expect()
	r.loads.Go(func() {
		r.loading.Lock()
		defer r.loading.Unlock()
		snapshot, err := r.check(ctx)
		if err != nil {
			r.Use(nil)
			r.refused.Store(&httpapi.PolicyRefusal{Source: r.source.Policies, At: time.Now().UTC(), Reason: err.Error()})
			r.log.Error("the candidate policies were refused; there is no shadow", "source", r.source.Policies, "error", err)
			return
		}
		r.refused.Store(nil)
		if snapshot.Revision() == r.live() {
			r.Use(nil)
			r.log.Info("the candidate policies are those that are live; there is no shadow", "source", snapshot.Source())
			return
		}
		r.meter.Expect(snapshot.Codes())
		r.meter.Expect(livePolicies{engine: r.engine}.Codes())
		r.Use(&shadow.Candidate{Rules: snapshot, Revision: snapshot.Revision(), Source: snapshot.Source(), Since: time.Now().UTC()})
		r.log.Info("candidate policies are evaluated beside the live ones",
			"source", snapshot.Source(), "candidate_revision", snapshot.Revision())
	})
}

// check fetches the candidate and checks it as live policies are.
func (r *rollout) check(ctx context.Context) (*snapshot.Snapshot, error) {
	if r.source.IsEmbedded() {
		return r.engine.Candidate(ctx, flags.Embedded())
	}
	limited, cancel := context.WithTimeout(ctx, flags.FetchTimeout)
	defer cancel()
	origin, err := r.source.Origin(sources.Options{})
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
	return r.engine.Candidate(limited, fetched.Source)
}

func (r *rollout) live() string {
	live := r.engine.Status().Snapshot
	if live == nil {
		return ""
	}
	return live.Revision()
}

func (r *rollout) close() {
	r.loads.Wait()
	r.Close()
}

// ShadowStatus implements httpapi.Shadow.
func (r *rollout) ShadowStatus(ctx context.Context, examples int) (httpapi.ShadowStatus, error) {
	status := httpapi.ShadowStatus{Refused: r.refused.Load(), Queued: r.Queued()}
	candidate := r.Candidate()
	if candidate == nil {
		return status, nil
	}
	status.Candidate = &httpapi.ShadowCandidate{Revision: candidate.Revision, Source: candidate.Source, Since: candidate.Since}
	summary, err := r.store.ShadowSummary(ctx, admission.ShadowPair{Live: r.live(), Candidate: candidate.Revision}, examples)
	status.Summary = &summary
	return status, err
}

// Promote implements httpapi.Shadow.
func (r *rollout) Promote(ctx context.Context, revision, caller string) (httpapi.Promotion, error) {
	var done httpapi.Promotion
	err := r.Shadow.Promote(revision, func(c *shadow.Candidate) error {
		snapshot, _ := c.Rules.(*snapshot.Snapshot) // load gave it one
		previous, err := r.engine.Promote(context.WithoutCancel(ctx), snapshot)
		if err != nil {
			return &admission.Error{Code: admission.CodeCandidateChanged, Detail: err.Error()}
		}
		done = httpapi.Promotion{Revision: c.Revision, Source: c.Source, Previous: previous, At: time.Now().UTC()}
		return nil
	})
	if err == nil {
		r.log.Warn("the candidate policies were promoted and are live; the next load of --policies replaces them, so change that source too",
			"policy_revision", done.Revision, "source", done.Source, "previous_revision", done.Previous, "caller", caller)
	}
	return done, err
}
