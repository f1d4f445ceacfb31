package snapshot_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/adapters/opa/explain"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/adapters/opa/verify"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// verified counts what came of decisions that were made again.
type verified struct {
	mutex  sync.Mutex
	counts map[string]int
}

func (v *verified) Verified(result string) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	if v.counts == nil {
		v.counts = make(map[string]int)
	}
	v.counts[result]++
}

func (v *verified) of(result string) int {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	return v.counts[result]
}

// verifying is an engine whose live decisions are all made again.
type verifying struct {
	engine   *opa.Engine
	verifier *verify.Verifier
	meter    verified
	log      bytes.Buffer // to be read once the verifier is closed
	decision uuid.UUID
}

func newVerifying(t *testing.T, source snapshot.Source, options ...opa.Option) *verifying {
	t.Helper()
	v := &verifying{engine: opa.NewEngine(schema(t), time.Now, options...), decision: uuid.New()}
	require.NoError(t, v.engine.Load(t.Context(), source))
	v.verifier = verify.New(verify.Options{
		Policies: v.engine, Meter: &v.meter, Logger: slog.New(slog.NewTextHandler(&v.log, nil)), Share: 1,
		Evaluator: admission.Evaluator{Timeout: time.Minute},
	})
	t.Cleanup(v.verifier.Close)
	return v
}

// review decides as a gate does, and tells the verifier.
func (v *verifying) review(t *testing.T) admission.Verdict {
	t.Helper()
	in := registering(t, "")
	got, err := v.engine.Current().Evaluate(t.Context(), in, time.Now())
	require.NoError(t, err)
	v.verifier.Reviewed(t.Context(), admission.Outcome{Input: in, Decision: admission.Decision{ID: v.decision, At: time.Now(), Verdict: got}})
	return got
}

func (v *verifying) wait(t *testing.T, result string, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return v.meter.of(result) == n }, 10*time.Second, time.Millisecond)
}

// A fast path that is wrong is caught by a decision that OPA makes again. That is counted and logged, and from then on OPA
// decides by these policies, also when they are loaded again.
func TestAFastPathThatIsWrongIsCaughtAndTurnedOff(t *testing.T) {
	source := hook(someEntry)
	v := newVerifying(t, source)
	require.False(t, v.review(t).Allowed())
	v.wait(t, verify.Same, 1)
	require.False(t, v.engine.Status().ByOPA)

	v.engine.Status().Snapshot.Mislead()
	require.True(t, v.review(t).Allowed(), "the wrong answer")
	v.wait(t, verify.Disagreed, 1)

	status := v.engine.Status()
	require.True(t, status.ByOPA)
	require.Equal(t, v.decision, status.Distrusted.DecisionID)
	require.Equal(t, []string{"some_rule"}, status.Distrusted.Rules)
	require.False(t, v.review(t).Allowed(), "OPA decides")

	require.NoError(t, v.engine.Load(t.Context(), source))
	require.True(t, v.engine.Status().ByOPA, "the same policies again")
	require.NoError(t, v.engine.Load(t.Context(), hook("input.dry_run\n"+someEntry)))
	require.False(t, v.engine.Status().ByOPA, "other policies")
	require.Nil(t, v.engine.Status().Distrusted)

	v.verifier.Close()
	require.Equal(t, 1, v.meter.of(verify.Disagreed))
	require.Contains(t, v.log.String(), "level=ERROR")
	require.Contains(t, v.log.String(), "evaluators disagree on rule some_rule")
	require.Contains(t, v.log.String(), v.decision.String())
}

func TestWithoutTheFastPathThereIsNothingToVerify(t *testing.T) {
	v := newVerifying(t, hook(someEntry), opa.ByOPA())
	v.engine.Status().Snapshot.Mislead()
	require.False(t, v.review(t).Allowed(), "OPA decides for good")
	v.verifier.Close()
	require.Empty(t, v.meter.counts)
	require.True(t, v.engine.Status().ByOPA)
	_, err := v.engine.Status().Snapshot.Checked().Evaluate(t.Context(), registering(t, ""), time.Now())
	require.NoError(t, err)
}

// held are live policies whose reference waits.
type held struct{ begun, release chan struct{} }

func (h held) Reference(string) admission.Evaluable { return h }

func (held) Distrust(string, uuid.UUID, []string) {}

func (h held) Evaluate(ctx context.Context, _ admission.Input, _ time.Time) (admission.Verdict, error) {
	select {
	case h.begun <- struct{}{}:
	case <-ctx.Done():
	}
	select {
	case <-h.release:
		return admission.Verdict{}, nil
	case <-ctx.Done():
		return admission.Verdict{}, ctx.Err()
	}
}

// To verify holds no review up: where too many wait, those that come are dropped and counted. When the server stops,
// whatever is under way is broken off before the verifier has closed.
func TestVerifyingNeverHoldsUpAReviewOrAShutdown(t *testing.T) {
	policies := held{begun: make(chan struct{}), release: make(chan struct{})}
	meter := &verified{}
	verifier := verify.New(verify.Options{Policies: policies, Meter: meter, Logger: slog.New(slog.DiscardHandler), Share: 1, Queue: 2})
	answered := admission.Outcome{}
	verifier.Reviewed(t.Context(), answered)
	<-policies.begun
	for range 5 {
		verifier.Reviewed(t.Context(), answered)
	}
	require.Equal(t, 3, meter.of(verify.Dropped), "two wait")
	policies.release <- struct{}{}
	<-policies.begun
	verifier.Close()
	require.Equal(t, 5, meter.of(verify.Dropped))
	require.Equal(t, 1, meter.of(verify.Same))
	require.Zero(t, meter.of(verify.Failed)+meter.of(verify.Disagreed))
}

// What was not decided anew by the policies is not picked, and no more than the share is.
func TestOnlyAShareOfNewDecisionsIsVerified(t *testing.T) {
	policies := held{begun: make(chan struct{}), release: make(chan struct{})}
	close(policies.release)
	for name, test := range map[string]struct {
		share   float64
		outcome admission.Outcome
	}{
		"none":            {0, admission.Outcome{}},
		"an error":        {1, admission.Outcome{Err: &admission.Error{}}},
		"a repeated uid":  {1, admission.Outcome{Repeated: true}},
		"next to nothing": {1e-300, admission.Outcome{}},
	} {
		t.Run(name, func(t *testing.T) {
			meter := &verified{}
			verifier := verify.New(verify.Options{Policies: policies, Meter: meter, Logger: slog.New(slog.DiscardHandler), Share: test.share})
			verifier.Reviewed(t.Context(), test.outcome)
			verifier.Close()
			require.Empty(t, meter.counts)
		})
	}
}

// Whoever has the time decides by both evaluators. Where they differ there is no verdict, and the fast path is off.
func TestCheckedPoliciesFailWhereEvaluatorsDisagree(t *testing.T) {
	snapshot := load(t, hook(someEntry))
	in := registering(t, "")
	fine, err := snapshot.Checked().Evaluate(t.Context(), in, time.Now())
	require.NoError(t, err)
	require.Equal(t, verdict(t, snapshot, in), fine)

	snapshot.Mislead()
	for range 2 { // it goes on to compare
		_, err = snapshot.Checked().Evaluate(t.Context(), in, time.Now())
		require.ErrorIs(t, err, admission.ErrEvaluatorsDisagree)
		require.EqualError(t, err, "evaluators disagree on rule some_rule")
	}
	require.False(t, verdict(t, snapshot, in).Allowed(), "OPA decides")
	_, err = explain.Review(t.Context(), snapshot, in, time.Now())
	require.ErrorIs(t, err, admission.ErrEvaluatorsDisagree)
}

func TestACaseFailsWhereEvaluatorsDisagree(t *testing.T) {
	found, err := cases(t, caseHead+"cases:\n  - name: one\n    expect: {allowed: false}\n")
	require.NoError(t, err)
	misled := load(t, hook(someEntry))
	misled.Mislead()
	result := found[0].Run(t.Context(), misled)
	require.Equal(t, []string{"error: evaluators disagree on rule some_rule"}, result.Problems)
}
