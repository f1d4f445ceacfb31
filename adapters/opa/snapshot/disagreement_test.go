package snapshot_test

import (
	"bytes"
	"log/slog"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/adapters/opa/casetest"
	"github.com/molecule-ai/gatehouse/adapters/opa/explain"
	"github.com/molecule-ai/gatehouse/adapters/opa/opatest"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/adapters/opa/verify"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// verified counts the results of decisions that were made a second time.
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

// verifying is an engine whose live decisions are all made a second time.
type verifying struct {
	engine   *opa.Engine
	verifier *verify.Verifier
	meter    verified
	log      bytes.Buffer // to be read once the verifier is closed
	decision uuid.UUID
}

func newVerifying(t *testing.T, source snapshot.Source, options opa.Options) *verifying {
	t.Helper()
	v := &verifying{engine: opa.NewEngine(opatest.Schema(t), time.Now, options), decision: uuid.New()}
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
	in := opatest.Registering(t, "")
	got, err := v.engine.Current().Evaluate(t.Context(), in, time.Now())
	require.NoError(t, err)
	v.verifier.Reviewed(t.Context(), admission.Outcome{Input: in, Decision: admission.Decision{ID: v.decision, At: time.Now(), Verdict: got}})
	return got
}

func (v *verifying) wait(t *testing.T, result string, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return v.meter.of(result) == n }, 10*time.Second, time.Millisecond)
}

// A wrong fast path is found when OPA makes a decision a second time. This is counted and logged. From then on OPA decides
// alone by these policies, also when they are loaded again.
func TestVerifierTurnsOffAWrongFastPath(t *testing.T) {
	source := opatest.Hook(opatest.SomeEntry)
	v := newVerifying(t, source, opa.Options{})
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
	require.NoError(t, v.engine.Load(t.Context(), opatest.Hook("input.dry_run\n"+opatest.SomeEntry)))
	require.False(t, v.engine.Status().ByOPA, "other policies")
	require.Nil(t, v.engine.Status().Distrusted)

	v.verifier.Close()
	require.Equal(t, 1, v.meter.of(verify.Disagreed))
	require.Contains(t, v.log.String(), "level=ERROR")
	require.Contains(t, v.log.String(), "evaluators disagree on rule some_rule")
	require.Contains(t, v.log.String(), v.decision.String())
}

func TestVerifierIsIdleWithoutTheFastPath(t *testing.T) {
	v := newVerifying(t, opatest.Hook(opatest.SomeEntry), opa.Options{ByOPA: true})
	v.engine.Status().Snapshot.Mislead()
	require.False(t, v.review(t).Allowed(), "OPA decides for good")
	v.verifier.Close()
	require.Empty(t, v.meter.counts)
	require.True(t, v.engine.Status().ByOPA)
	_, err := v.engine.Status().Snapshot.Checked().Evaluate(t.Context(), opatest.Registering(t, ""), time.Now())
	require.NoError(t, err)
}

// Checked policies decide by both evaluators. Where these differ there is no verdict, and the fast path is turned off.
func TestCheckedPoliciesFailWhereEvaluatorsDisagree(t *testing.T) {
	snapshot := opatest.Load(t, opatest.Hook(opatest.SomeEntry))
	in := opatest.Registering(t, "")
	fine, err := snapshot.Checked().Evaluate(t.Context(), in, time.Now())
	require.NoError(t, err)
	require.Equal(t, opatest.Verdict(t, snapshot, in), fine)

	snapshot.Mislead()
	for range 2 { // it goes on to compare
		_, err = snapshot.Checked().Evaluate(t.Context(), in, time.Now())
		require.ErrorIs(t, err, admission.ErrEvaluatorsDisagree)
		require.EqualError(t, err, "evaluators disagree on rule some_rule")
	}
	require.False(t, opatest.Verdict(t, snapshot, in).Allowed(), "OPA decides")
	_, err = explain.Review(t.Context(), snapshot, in, time.Now())
	require.ErrorIs(t, err, admission.ErrEvaluatorsDisagree)
}

func TestCaseFailsWhereEvaluatorsDisagree(t *testing.T) {
	found, err := casetest.Load(fstest.MapFS{"one.yaml": {Data: []byte("cases:\n  - name: one\n" +
		"    review: {workspace: {id: 01890a5d-ac96-774b-bcce-b302099a8057}}\n    expect: {allowed: false}\n")}}, ".")
	require.NoError(t, err)
	misled := opatest.Load(t, opatest.Hook(opatest.SomeEntry))
	misled.Mislead()
	result := found[0].Run(t.Context(), misled)
	require.Equal(t, []string{"error: evaluators disagree on rule some_rule"}, result.Problems)
}
