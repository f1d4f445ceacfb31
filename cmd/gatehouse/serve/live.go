package serve

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/molecule-ai/gatehouse/adapters/metrics"
	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi/resources"
	"github.com/molecule-ai/gatehouse/server/readiness"
)

// livePolicies shows the engine to the server and to the metrics.
type livePolicies struct {
	engine *opa.Engine
	maxAge time.Duration // of policies that nobody confirms, before they are not relied on; 0 for any
}

func (p livePolicies) HasHook(hook string) bool {
	snapshot := p.engine.Status().Snapshot
	return snapshot != nil && snapshot.HasHook(hook)
}

func (p livePolicies) HasCode(code string) bool {
	snapshot := p.engine.Status().Snapshot
	return snapshot != nil && snapshot.HasCode(code)
}

func (p livePolicies) Hooks() []string {
	snapshot := p.engine.Status().Snapshot
	if snapshot == nil {
		return nil
	}
	return snapshot.Hooks()
}

func (p livePolicies) Codes() []string {
	snapshot := p.engine.Status().Snapshot
	if snapshot == nil {
		return nil
	}
	return snapshot.Codes()
}

func (p livePolicies) PolicyState() metrics.PolicyState {
	status := p.engine.Status()
	state := metrics.PolicyState{Failures: status.Failures, Stale: isStale(status), Refused: status.Refused != nil}
	if status.Snapshot != nil {
		state.Revision, state.Source, state.Since = status.Snapshot.Revision(), status.Snapshot.Source(), status.Since
		state.Confirmed = p.confirmed(status)
		state.FastPath = !status.ByOPA
		state.Weaker = map[string]int{"other": 0}
		for _, code := range status.Snapshot.Codes() {
			state.Weaker[code] = 0
		}
		for _, weakness := range status.Weaker {
			state.Weaker[cmp.Or(weakness.Code, "other")]++
		}
	}
	return state
}

// confirmed is when the live policies were last known to be those of their source. Embedded ones always are.
func (p livePolicies) confirmed(status opa.Status) time.Time {
	if status.Snapshot.Source() == flags.EmbeddedName {
		return time.Now()
	}
	return status.Confirmed
}

// isStale says whether the source may have other policies than those that are live.
func isStale(status opa.Status) bool {
	return status.Snapshot != nil && (status.Unreached != nil || status.Refused != nil)
}

func (p livePolicies) PolicyStatus() resources.PolicyStatus {
	status := p.engine.Status()
	if status.Snapshot == nil {
		return resources.PolicyStatus{}
	}
	return resources.PolicyStatus{
		Revision: status.Snapshot.Revision(), Source: status.Snapshot.Source(),
		Since: status.Since.UTC(), AgeSeconds: int64(time.Since(status.Since).Seconds()),
		Hooks: status.Snapshot.Hooks(), Rules: status.Snapshot.Rules(), Bundle: bundleOf(status.Snapshot),
		Confirmed: p.confirmed(status).UTC(), Stale: isStale(status),
		Weaker: append([]admission.Weakness{}, status.Weaker...), Remarks: append([]string{}, status.Snapshot.Remarks()...),
		Refused: refusalOf(status.Refused), Unreached: refusalOf(status.Unreached),
		Evaluator: evaluatorOf(status), Disagreement: disagreementOf(status.Distrusted),
	}
}

func evaluatorOf(status opa.Status) string {
	if status.ByOPA {
		return "opa"
	}
	return "fast-path"
}

func disagreementOf(found *opa.Distrusted) *resources.PolicyDisagreement {
	if found == nil {
		return nil
	}
	return &resources.PolicyDisagreement{At: found.At.UTC(), DecisionID: found.DecisionID, Rules: append([]string{}, found.Rules...)}
}

func refusalOf(refusal *opa.Refusal) *resources.PolicyRefusal {
	if refusal == nil {
		return nil
	}
	return &resources.PolicyRefusal{Source: refusal.Source, At: refusal.At.UTC(), Reason: refusal.Err.Error()}
}

func bundleOf(snapshot *snapshot.Snapshot) *resources.PolicyBundle {
	info := snapshot.Bundle()
	if info == nil {
		return nil
	}
	shown := &resources.PolicyBundle{Revision: info.Revision, SignedBy: info.SignedBy}
	if !info.BuiltAt.IsZero() {
		at := info.BuiltAt.UTC()
		shown.BuiltAt = &at
	}
	return shown
}

// ready is the probe of the policies.
func (p livePolicies) ready(context.Context, bool) error {
	status := p.engine.Status()
	if status.Waiting != nil {
		return &admission.Error{Code: admission.CodeNotReady, Detail: "they wait until the store says which were live last"}
	}
	if status.Snapshot == nil {
		return &admission.Error{Code: admission.CodeNotReady, Detail: "no policies are live"}
	}
	if status.Snapshot.Source() == flags.EmbeddedName {
		return nil
	}
	err := tooOld(status, p.maxAge, time.Now())
	if err != nil {
		return &admission.Error{Code: admission.CodeNotReady, Detail: "their source has not confirmed them for too long", Err: err}
	}
	return nil
}

// tooOld gives an error for policies that their source has not confirmed for longer than limit.
func tooOld(status opa.Status, limit time.Duration, now time.Time) error {
	age := now.Sub(status.Confirmed)
	if limit <= 0 || age <= limit {
		return nil
	}
	cause := "its source has another version, which was refused"
	if status.Unreached != nil {
		cause = status.Unreached.Err.Error()
	} else if status.Refused != nil {
		cause = status.Refused.Err.Error()
	}
	return fmt.Errorf("the policies were last confirmed %s ago, which is more than %s: %s", age.Round(time.Second), limit, cause)
}

// newReadiness watches what reviews need, and shows it to the metrics.
func newReadiness(p *process, live livePolicies, store *openStore) *readiness.Readiness {
	ready := readiness.New(readiness.Options{
		Facts:  func(ctx context.Context, _ bool) error { return store.FactsReady(ctx) },
		Ledger: store.ledgerReady, Outbox: store.outboxReady, Policies: live.ready, Logger: p.log,
	})
	p.registry.MustRegister(metrics.NewReadinessCollector(func(ctx context.Context) map[string]bool {
		states := make(map[string]bool)
		for _, state := range ready.States(ctx) {
			states[string(state.Component)] = state.Err == nil
		}
		return states
	}))
	return ready
}
