package snapshot_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// The record of a violation tells what its rule says and what enforcement made of it.
func TestAViolationTellsWhatItsRuleSaysBesideWhatIsDone(t *testing.T) {
	for name, test := range map[string]struct {
		set         string
		enforcement string
		want        admission.Violation
	}{
		"a rule alone":        {"deny", "{}", admission.Violation{Enforcement: admission.Deny}},
		"deny made a warning": {"deny", "{SOME_CODE: warn}", admission.Violation{Enforcement: admission.Warn, Declared: admission.Deny}},
		"deny made an audit":  {"deny", "{SOME_CODE: audit}", admission.Violation{Enforcement: admission.Audit, Declared: admission.Deny}},
		"deny as it is":       {"deny", "{SOME_CODE: deny}", admission.Violation{Enforcement: admission.Deny}},
		"a warning made deny": {"warn", "{SOME_CODE: deny}", admission.Violation{Enforcement: admission.Deny, Declared: admission.Warn}},
		"a warning alone":     {"warn", "{}", admission.Violation{Enforcement: admission.Warn}},
	} {
		t.Run(name, func(t *testing.T) {
			rule := hookPackage + annotation("SOME_CODE") + test.set + " contains violation if {\n" + someEntry + "\n}\n\n"
			if test.set != "deny" {
				rule += annotation("NEVER") + "deny contains violation if {\nfalse\n" + someEntry + "\n}\n"
			}
			snapshot := load(t, files(map[string]string{"register/some_rule.rego": rule, "data.yaml": "enforcement: " + test.enforcement}))
			got := verdict(t, snapshot, registering(t, "")).Violations
			require.Len(t, got, 1)
			require.Equal(t, test.want.Enforcement, got[0].Enforcement)
			require.Equal(t, test.want.Declared, got[0].Declared)
			require.Equal(t, admission.Enforcement(test.set), got[0].Says())
		})
	}
}

// recorded notes what became live.
type recorded []opa.Record

func (r *recorded) PolicyActivated(_ context.Context, record opa.Record) { *r = append(*r, record) }
func (*recorded) PolicyRefused(context.Context, opa.Record)              {}

func TestACandidateIsCheckedAsideAndThenMadeLive(t *testing.T) {
	var journal recorded
	engine := opa.NewEngine(schema(t), time.Now, opa.RecordWith(&journal))
	live, candidate := hook(someEntry), hook("input.dry_run\n"+someEntry)
	require.NoError(t, engine.Load(t.Context(), live))
	before := engine.Current()

	_, err := engine.Candidate(t.Context(), hook("broken("))
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

func TestASignedCandidateThatHasBecomeOlderIsNotPromoted(t *testing.T) {
	built := func(minutesAgo int, rule string) snapshot.Source {
		source := hook(rule)
		source.Bundle = &snapshot.BundleInfo{BuiltAt: time.Now().Add(-time.Duration(minutesAgo) * time.Minute), Key: "k"}
		return source
	}
	engine := opa.NewEngine(schema(t), time.Now)
	require.NoError(t, engine.Load(t.Context(), built(30, someEntry)))
	snapshot, err := engine.Candidate(t.Context(), built(20, "input.dry_run\n"+someEntry))
	require.NoError(t, err)
	require.NoError(t, engine.Load(t.Context(), built(10, someEntry)))
	live := engine.Current()
	_, err = engine.Promote(t.Context(), snapshot)
	require.ErrorContains(t, err, "rollback")
	require.Same(t, live, engine.Current())
}

// Policies become live although a test of theirs is skipped, and the record of the activation names it.
func TestActivationNamesSkippedTests(t *testing.T) {
	var records recorded
	source := files(map[string]string{
		"register/some_rule.rego": hookPackage + annotation("SOME_CODE") + "deny contains " + `{"reason": "r", "message": "m"} if input.request.never` + "\n",
		"some_test.rego":          "package some_test\n\ntodo_test_x if false\n",
	})
	require.NoError(t, opa.NewEngine(schema(t), time.Now, opa.RecordWith(&records)).Load(t.Context(), source))
	require.Equal(t, []string{"test data.some_test.todo_test_x is skipped"}, records[0].Remarks)
}
