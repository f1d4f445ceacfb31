package admission_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
)

func verdictOf(rules ...string) evaluableFunc {
	return func(context.Context) (admission.Verdict, error) {
		var violations []admission.Violation
		for _, rule := range rules {
			violations = append(violations, admission.Violation{Rule: rule, Code: "C", Severity: admission.High, Enforcement: admission.Deny})
		}
		return admission.NewVerdict(violations, "r1"), nil
	}
}

func noVerdict(text string) evaluableFunc {
	return func(context.Context) (admission.Verdict, error) { return admission.Verdict{}, errors.New(text) }
}

// Two evaluators of the same policies must agree. Where they do not, neither verdict is taken.
func TestBothGivesAVerdictWhereEvaluatorsAgree(t *testing.T) {
	for name, test := range map[string]struct {
		fast, reference evaluableFunc
		says            string // "" if they agree
	}{
		"nothing":              {verdictOf(), verdictOf(), ""},
		"the same":             {verdictOf("a", "b"), verdictOf("b", "a"), ""},
		"one that is missing":  {verdictOf("a"), verdictOf("a", "b", "c"), "evaluators disagree on rule b, c"},
		"one that is too much": {verdictOf("a", "b"), verdictOf("a"), "evaluators disagree on rule b"},
		"one that comes twice": {verdictOf("a", "a"), verdictOf("a"), "evaluators disagree on rule a"},
		"another":              {verdictOf("a"), verdictOf("b"), "evaluators disagree on rule a, b"},
		"an error for one":     {verdictOf(), noVerdict("conflict"), "evaluators disagree: one gives a verdict and the other an error: conflict"},
		"an error for other":   {noVerdict("conflict"), verdictOf(), "evaluators disagree: one gives a verdict and the other an error: conflict"},
	} {
		t.Run(name, func(t *testing.T) {
			both := admission.Both{Fast: test.fast, Reference: test.reference}
			verdict, err := both.Evaluate(t.Context(), admission.Input{}, time.Now())
			if test.says == "" {
				require.NoError(t, err)
				require.Equal(t, "r1", verdict.Revision)
				return
			}
			require.EqualError(t, err, test.says)
			require.ErrorIs(t, err, admission.ErrEvaluatorsDisagree)
		})
	}
	both := admission.Both{Fast: noVerdict("one"), Reference: noVerdict("other")}
	_, err := both.Evaluate(t.Context(), admission.Input{}, time.Now())
	require.EqualError(t, err, "other", "two errors are no disagreement")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = admission.Both{Fast: verdictOf("a"), Reference: noVerdict("cancelled")}.Evaluate(ctx, admission.Input{}, time.Now())
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, admission.ErrEvaluatorsDisagree, "one of them had the time, by chance")
}
