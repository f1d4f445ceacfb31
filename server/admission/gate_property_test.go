package admission_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// trouble is what can happen at a port, by the time that it takes and whether it fails.
type trouble struct {
	delay time.Duration
	fails bool
}

func (x trouble) meet(ctx context.Context) error {
	if x.delay > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(x.delay):
		}
	}
	if x.fails {
		return failing("")
	}
	return nil
}

func anyTrouble(t *rapid.T, at string) trouble {
	return trouble{
		delay: rapid.SampledFrom([]time.Duration{0, 0, 0, 200 * time.Millisecond, 400 * time.Millisecond, 3 * time.Second}).Draw(t, at+" takes"),
		fails: rapid.SampledFrom([]bool{false, false, false, true}).Draw(t, at+" fails"),
	}
}

// scenario is one review and everything that goes wrong on its way.
type scenario struct {
	body             string
	row              string
	secrets          []string
	changes          bool
	secretsAtLock    []string
	facts            trouble
	evaluations      [2]trouble
	recorded, record trouble
	prior            string // the answer that the uid has already, if any
	hangsUp          bool
	hangsUpAfter     time.Duration
}

func anyScenario(t *rapid.T) scenario {
	secrets := rapid.SampledFrom([][]string{nil, {"MODEL"}})
	return scenario{
		body:          rapid.SampledFrom([]string{register, named("r-1"), `{"dry_run": true, "workspace": ` + withID("") + `}`}).Draw(t, "body"),
		row:           rapid.SampledFrom([]string{platformRow, platformRow, ""}).Draw(t, "row"),
		secrets:       secrets.Draw(t, "secrets"),
		changes:       rapid.Bool().Draw(t, "facts change"),
		secretsAtLock: secrets.Draw(t, "secrets under the lock"),
		facts:         anyTrouble(t, "facts"),
		evaluations:   [2]trouble{anyTrouble(t, "evaluation"), anyTrouble(t, "second evaluation")},
		recorded:      anyTrouble(t, "lookup of the uid"),
		record:        anyTrouble(t, "record"),
		prior:         rapid.SampledFrom([]string{"", "", "denied", "allowed", "of another body"}).Draw(t, "prior answer"),
		hangsUp:       rapid.Bool().Draw(t, "caller hangs up"),
		hangsUpAfter:  rapid.SampledFrom([]time.Duration{0, 100 * time.Millisecond, 500 * time.Millisecond}).Draw(t, "after"),
	}
}

func (s scenario) fixture(t *testing.T) *fixture {
	f := newFixture(t)
	f.facts = facts(t, s.row, s.secrets...)
	if s.changes {
		locked := facts(t, s.row, s.secretsAtLock...)
		f.ledger.row = &locked
	}
	f.gate.Facts = factsFunc(func(ctx context.Context, _ uuid.UUID) (admission.Facts, error) { return f.facts, s.facts.meet(ctx) })
	evaluated := 0
	f.rules.evaluate = func(ctx context.Context, in admission.Input) ([]admission.Violation, error) {
		now := s.evaluations[evaluated]
		evaluated++
		err := now.meet(ctx)
		if err != nil {
			return nil, err
		}
		return requireModel(ctx, in)
	}
	f.ledger.before = func(ctx context.Context, call string) error {
		if call == "recorded" {
			return s.recorded.meet(ctx)
		}
		return s.record.meet(ctx)
	}
	if s.prior != "" {
		f.ledger.decisions = []admission.Decision{priorAnswer(t, s.prior)}
	}
	return f
}

func priorAnswer(t *testing.T, kind string) admission.Decision {
	one := review(t, named("r-1"))
	if kind == "of another body" {
		one = review(t, `{"uid": "r-1", "workspace": `+withID("")+`}`)
	}
	prior := admission.Decision{ID: uuid.New(), UID: "r-1", Digest: one.Digest(), Verdict: admission.Verdict{Revision: "r0"}}
	if kind == "denied" {
		prior.Verdict.Violations = []admission.Violation{modelMissing}
	}
	return prior
}

// Promises 1, 2 and 4: whatever fails, hangs or changes, in whatever combination, an allow is one that the
// policies gave on the facts that it names, the ledger has it, and every answer comes within the deadline.
func TestGateAllowsNothingUnderAnyFaults(t *testing.T) {
	outcomes := make(map[string]int)
	rapid.Check(t, func(rt *rapid.T) {
		s := anyScenario(rt)
		var f *fixture
		var decision admission.Decision
		var err error
		var took time.Duration
		// In a bubble, hours pass at once; rapid itself cannot run in one.
		synctest.Test(t, func(t *testing.T) {
			f = s.fixture(t)
			ctx, hangUp := context.WithCancel(t.Context())
			defer hangUp()
			if s.hangsUp {
				timer := time.AfterFunc(s.hangsUpAfter, hangUp)
				defer timer.Stop()
			}
			start := time.Now()
			decision, err = f.gate.Review(ctx, review(t, s.body))
			took = time.Since(start)
		})
		require.LessOrEqual(rt, took, limits.Request)
		require.Len(rt, f.observer.outcomes, 1)
		outcomes[s.check(rt, f, decision, err)]++
	})
	for _, outcome := range []string{"error", "repeated", "allowed", "denied"} {
		require.Positive(t, outcomes[outcome], "%v: no scenario reached %s", outcomes, outcome)
	}
}

// checkFailure checks that an answered fault leaves a record without a uid, and that a caller that hung up leaves none.
func (s scenario) checkFailure(t *rapid.T, f *fixture, err *admission.Error) {
	if strings.Contains(s.body, "dry_run") || !err.Code.IsFault() {
		require.Empty(t, f.failures)
		return
	}
	require.Len(t, f.failures, 1)
	failed := f.failures[0]
	require.Equal(t, &admission.Failure{Code: err.Code, Detail: err.Detail}, failed.Failed)
	require.Empty(t, failed.Verdict.Violations)
	require.Equal(t, "r1", failed.Verdict.Revision)
	require.False(t, failed.MarkedFailed)
	require.Nil(t, failed.Event)
}

func (s scenario) check(t *rapid.T, f *fixture, decision admission.Decision, err error) string {
	written := f.ledger.decisions
	if s.prior != "" {
		written = written[1:]
	}
	if err != nil {
		require.NotEqual(t, admission.CodeInternal, admission.AsError(err).Code)
		require.Equal(t, admission.Decision{}, decision)
		require.Empty(t, written, "nothing is half done")
		s.checkFailure(t, f, admission.AsError(err))
		return "error"
	}
	if f.observer.outcomes[0].Repeated {
		require.Empty(t, written)
		require.Equal(t, f.ledger.decisions[0], decision)
		return "repeated"
	}
	if decision.DryRun {
		require.Empty(t, written)
	} else {
		require.Equal(t, []admission.Decision{decision}, written, "the ledger has what was answered")
	}
	hasModel := slices.Contains(f.observer.outcomes[0].Input.Facts.SecretKeys, "MODEL")
	require.Equal(t, hasModel, decision.Verdict.Allowed(), "the answer is the policies' on the facts that it names")
	if s.changes && f.ledger.row != nil && slices.Contains(f.lines, "record and mark") {
		require.Equal(t, s.secretsAtLock != nil, hasModel, "and those are the facts under the lock")
	}
	require.Equal(t, decision.MarkedFailed, decision.Event != nil)
	if decision.MarkedFailed {
		require.False(t, hasModel)
		require.False(t, decision.DryRun)
		require.NotEmpty(t, s.row)
	}
	if hasModel {
		return "allowed"
	}
	return "denied"
}
