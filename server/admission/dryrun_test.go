package admission_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// A dry gate records the true verdict and has no effects. It does not claim the uid: once the gate enforces, the same request
// is decided again.
func TestDryGateRecordsDeniesWithoutEffects(t *testing.T) {
	f := newFixture(t)
	f.gate.DryRun = true
	one := review(t, named("r-1"))
	decision, err := f.review(t.Context(), t, one)
	require.Nil(t, err)
	require.Equal(t, []string{"policy", "facts", "evaluate", "record", "observed"}, f.lines)
	require.False(t, decision.Verdict.Allowed(), "what is recorded is the true verdict")
	require.True(t, decision.Answered().Allowed())
	require.True(t, decision.DryRun)
	require.True(t, decision.Unenforced)
	require.Nil(t, decision.Event)
	require.False(t, decision.MarkedFailed)
	require.Equal(t, "r-1", decision.UID)
	require.Contains(t, string(decision.Input), `"dry_run":false`, "policies see what they will see")

	recorded := f.ledger.decisions[0]
	require.Empty(t, recorded.UID)
	require.True(t, recorded.DryRun)
	require.Equal(t, decision.Verdict, recorded.Verdict)

	again, err := f.review(t.Context(), t, one)
	require.Nil(t, err)
	require.NotEqual(t, decision.ID, again.ID)

	f.gate.DryRun = false
	enforced, err := f.review(t.Context(), t, one)
	require.Nil(t, err)
	require.False(t, enforced.Answered().Allowed(), "an allow of the dry run must not answer the same uid for good")
	require.True(t, enforced.MarkedFailed)

	f.gate.DryRun = true
	dry, err := f.review(t.Context(), t, one)
	require.Nil(t, err)
	require.True(t, dry.Answered().Allowed(), "nor a deny of before the dry run")
}

func TestDryGateTellsADryRunTheTrueVerdict(t *testing.T) {
	f := newFixture(t)
	f.gate.DryRun = true
	one := review(t, register)
	one.DryRun = true
	decision, err := f.review(t.Context(), t, one)
	require.Nil(t, err)
	require.False(t, decision.Answered().Allowed())
	require.Empty(t, f.ledger.decisions)
}

func TestDryGateAnswersFaultsWithErrors(t *testing.T) {
	f := newFixture(t)
	f.gate.DryRun = true
	f.rules.evaluate = nil
	f.facts.Workspace = nil
	f.gate.Policy = policyFunc(func() admission.Ruleset { return nil })
	_, err := f.review(t.Context(), t, review(t, register))
	require.Equal(t, admission.CodeNotReady, err.Code)
}

func TestObserverHearsOfTheInput(t *testing.T) {
	f := newFixture(t)
	decision, err := f.review(t.Context(), t, review(t, register))
	require.Nil(t, err)
	input, fault := f.observer.outcomes[0].Input.JSON()
	require.NoError(t, fault)
	require.JSONEq(t, string(decision.Input), string(input))

	row := facts(t, platformRow, "MODEL")
	f.ledger.row = &row // what was decided is by these
	_, err = f.review(t.Context(), t, review(t, register))
	require.Nil(t, err)
	require.Equal(t, []string{"MODEL"}, f.observer.outcomes[1].Input.Facts.SecretKeys)
}

func TestLenientVerdictWarnsInPlaceOfDenies(t *testing.T) {
	deny := admission.Violation{Code: "D", Severity: admission.High, Enforcement: admission.Deny, MarkFailed: true}
	raised := admission.Violation{Code: "R", Severity: admission.High, Enforcement: admission.Deny, Declared: admission.Warn}
	warn := admission.Violation{Code: "W", Severity: admission.Low, Enforcement: admission.Warn, Declared: admission.Deny}
	audit := admission.Violation{Code: "A", Severity: admission.Low, Enforcement: admission.Audit, Declared: admission.Deny}
	strict := admission.NewVerdict([]admission.Violation{deny, raised, warn, audit}, "r1")
	lenient := strict.Lenient()
	require.True(t, lenient.Allowed())
	require.Nil(t, lenient.Marking())
	require.False(t, strict.Allowed(), "the true verdict stays")
	for i, v := range lenient.Violations {
		require.Equal(t, strict.Violations[i].Says(), v.Says(), "what the rule says stays: %s", v.Code)
		require.NotEqual(t, admission.Deny, v.Enforcement)
	}
	require.Equal(t, admission.Audit, lenient.Violations[2].Enforcement)
}
