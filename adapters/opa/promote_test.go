package opa_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/adapters/opa/opatest"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// recorded notes what became live.
type recorded []opa.Activation

func (r *recorded) Record(_ context.Context, activation opa.Activation) {
	if activation.Activated {
		*r = append(*r, activation)
	}
}

func TestPromoteMakesACandidateLive(t *testing.T) {
	var journal recorded
	engine := opa.NewEngine(opatest.Schema(t), time.Now, opa.Options{Recorder: &journal})
	live, candidate := opatest.Hook(opatest.SomeEntry), opatest.Hook("input.dry_run\n"+opatest.SomeEntry)
	require.NoError(t, engine.Load(t.Context(), live))
	before := engine.Current()

	_, err := engine.Candidate(t.Context(), opatest.Hook("broken("))
	require.Error(t, err)
	require.Nil(t, engine.Status().Refused, "a bad candidate is no fault of what is live")
	require.Zero(t, engine.Status().Failures)
	snapshot, err := engine.Candidate(t.Context(), candidate)
	require.NoError(t, err)
	require.Same(t, before, engine.Current())

	previous, err := engine.Promote(t.Context(), snapshot)
	require.NoError(t, err)
	require.Same(t, snapshot, engine.Current())
	require.Equal(t, journal[0].Revision, previous)
	require.Len(t, journal, 2)
	require.Equal(t, snapshot.Revision(), journal[1].Revision)
	require.False(t, engine.Status().Confirmed.IsZero())
}

func TestPromoteRefusesAnOlderSignedCandidate(t *testing.T) {
	built := func(minutesAgo int, rule string) snapshot.Source {
		source := opatest.Hook(rule)
		source.Bundle = &ledger.Bundle{BuiltAt: time.Now().Add(-time.Duration(minutesAgo) * time.Minute), SignedBy: "k"}
		return source
	}
	engine := opa.NewEngine(opatest.Schema(t), time.Now, opa.Options{})
	require.NoError(t, engine.Load(t.Context(), built(30, opatest.SomeEntry)))
	snapshot, err := engine.Candidate(t.Context(), built(20, "input.dry_run\n"+opatest.SomeEntry))
	require.NoError(t, err)
	require.NoError(t, engine.Load(t.Context(), built(10, opatest.SomeEntry)))
	live := engine.Current()
	_, err = engine.Promote(t.Context(), snapshot)
	require.ErrorContains(t, err, "rollback")
	require.Same(t, live, engine.Current())
}

// Policies with a skipped test become live, and the record of the activation names the test.
func TestActivationNamesSkippedTests(t *testing.T) {
	var records recorded
	source := opatest.Files(map[string]string{
		"register/some_rule.rego": opatest.HookPackage + opatest.Annotation("SOME_CODE") + "deny contains " + `{"reason": "r", "message": "m"} if input.request.never` + "\n",
		"some_test.rego":          "package some_test\n\ntodo_test_x if false\n",
	})
	require.NoError(t, opa.NewEngine(opatest.Schema(t), time.Now, opa.Options{Recorder: &records}).Load(t.Context(), source))
	require.Equal(t, []string{"test data.some_test.todo_test_x is skipped"}, records[0].Remarks)
}
