package admission_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// evaluableFunc are rules made of a func.
type evaluableFunc func(ctx context.Context) (admission.Verdict, error)

func (f evaluableFunc) Evaluate(ctx context.Context, _ admission.Input, _ time.Time) (admission.Verdict, error) {
	return f(ctx)
}

// Every error of an evaluation has a code, whoever evaluates.
func TestEvaluatorGivesEveryErrorItsCode(t *testing.T) {
	conflict := &admission.Error{Code: admission.CodeMalformedRequest, Detail: "the row is no request"}
	for name, test := range map[string]struct {
		rules evaluableFunc
		code  admission.Code
		says  string
	}{
		"no verdict": {func(context.Context) (admission.Verdict, error) { return admission.Verdict{}, errors.New("undefined") },
			admission.CodePolicyError, "undefined"},
		"one with a code": {func(context.Context) (admission.Verdict, error) { return admission.Verdict{}, conflict },
			admission.CodeMalformedRequest, "no request"},
		"a panic": {func(context.Context) (admission.Verdict, error) { panic("boom") },
			admission.CodeInternal, "evaluating panicked: boom"},
		"its deadline": {func(ctx context.Context) (admission.Verdict, error) { return admission.Verdict{}, hang(ctx) },
			admission.CodePolicyError, "deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			evaluator := admission.Evaluator{Timeout: time.Millisecond, Turns: admission.Holding{Weighted: semaphore.NewWeighted(1)}}
			for range 2 { // the turn is given back
				_, err := evaluator.Evaluate(t.Context(), test.rules, admission.Input{}, time.Now())
				require.Equal(t, test.code, admission.AsError(err).Code)
				require.ErrorContains(t, err, test.says)
			}
		})
	}
}

// A yielding evaluation begins in a moment in which nobody else waits for a turn. It holds no turn while it runs.
func TestYieldingTurnsAreNotHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := semaphore.NewWeighted(1)
		holding, yielding := admission.Holding{Weighted: turns}, admission.Yielding{Weighted: turns}
		require.NoError(t, holding.Take(t.Context()))
		begun := false
		go func() {
			if yielding.Take(t.Context()) == nil {
				begun = true
			}
		}()
		synctest.Wait()
		require.False(t, begun, "a live evaluation has the turn")
		holding.Give()
		synctest.Wait()
		require.True(t, begun)
		require.NoError(t, holding.Take(t.Context()), "though the other one still runs")
		yielding.Give()
		require.False(t, turns.TryAcquire(1))
	})
}
