package admission_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
)

const workspaceID = "01890a5d-ac96-774b-bcce-b302099a8057"

// withID is a workspace with further members.
func withID(members string) string {
	if members == "" {
		return `{"id": "` + workspaceID + `"}`
	}
	return `{"id": "` + workspaceID + `", ` + members + `}`
}

func envelope(workspace string) string { return `{"workspace": ` + workspace + `}` }

func review(t testing.TB, body string) admission.Review {
	t.Helper()
	decoded, err := decode.Review("register", []byte(body), decode.DefaultMaxDepth)
	require.NoError(t, err)
	return decoded
}

// The doubles keep what they are given and log what they are asked, in order.

type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) log(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

type factsFunc func(ctx context.Context, id uuid.UUID) (admission.Facts, error)

func (f factsFunc) Facts(ctx context.Context, id uuid.UUID) (admission.Facts, error) {
	return f(ctx, id)
}

type policyFunc func() admission.Ruleset

func (f policyFunc) Current() admission.Ruleset { return f() }

type ruleset struct {
	revision string
	evaluate func(ctx context.Context, in admission.Input) ([]admission.Violation, error)
	mask     func(d admission.Decision) error // nil masks nothing
}

func (r ruleset) HasHook(hook string) bool { return hook == "register" }

func (r ruleset) Evaluate(ctx context.Context, in admission.Input, _ time.Time) (admission.Verdict, error) {
	violations, err := r.evaluate(ctx, in)
	if err != nil {
		return admission.Verdict{}, err
	}
	return admission.NewVerdict(violations, r.revision), nil
}

func (r ruleset) Mask(_ context.Context, d admission.Decision, in admission.Input) (admission.RecordedInput, error) {
	kept := admission.RecordedInput{Revision: r.revision}
	if r.mask != nil {
		err := r.mask(d)
		if err != nil {
			return kept, err
		}
	}
	var err error
	kept.JSON, err = in.JSON()
	return kept, err
}

// failures keeps the records of reviews that failed.
type failures []admission.Decision

func (f *failures) Failed(failed admission.FailedReview) {
	d, _ := failed.Record(context.Background())
	*f = append(*f, d)
}

// ledger keeps decisions by their request and id. row is what it finds under the lock, seen's own facts if nil.
type ledger struct {
	journal   *journal
	mu        sync.Mutex
	decisions []admission.Decision
	row       *admission.Facts
	before    func(ctx context.Context, call string) error // fails or waits, before anything is written
}

func (l *ledger) Recorded(ctx context.Context, of admission.RequestKey) (admission.Decision, error) {
	l.journal.log("recorded %s", of.UID)
	err := l.enter(ctx, "recorded")
	if err != nil {
		return admission.Decision{}, err
	}
	return l.find(of)
}

func (l *ledger) Record(ctx context.Context, d admission.Decision) (admission.Decision, error) {
	l.journal.log("record")
	err := l.enter(ctx, "record")
	if err != nil {
		return admission.Decision{}, err
	}
	return l.keep(d)
}

func (l *ledger) RecordAndMark(
	ctx context.Context, d admission.Decision, seen admission.Facts, judge admission.Judge,
) (judged admission.Judged, err error) {
	l.journal.log("record and mark")
	err = l.enter(ctx, "record and mark")
	if err != nil {
		return judged, err
	}
	judged.Decision = d
	if l.row != nil && !l.row.Equal(seen) {
		judged, err = judge.Again(ctx, *l.row)
		if err != nil {
			return judged, fmt.Errorf("judging again: %w", err)
		}
	}
	if admission.ShouldMark("online", "", judged.Verdict.Marking()) {
		err = judged.Mark()
		if err != nil {
			return judged, err
		}
	}
	judged.Decision, err = l.keep(judged.Decision)
	return judged, err
}

func (l *ledger) enter(ctx context.Context, call string) error {
	if l.before == nil {
		return ctx.Err()
	}
	err := l.before(ctx, call)
	if err != nil {
		return err
	}
	return ctx.Err()
}

func (l *ledger) find(of admission.RequestKey) (admission.Decision, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.decisions {
		if d.RequestKey() == of {
			return d, nil
		}
	}
	return admission.Decision{}, fmt.Errorf("looking: %w", admission.ErrNotRecorded)
}

func (l *ledger) keep(d admission.Decision) (admission.Decision, error) {
	if d.UID != "" {
		prior, err := l.find(d.RequestKey())
		if err == nil {
			return prior, nil
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.decisions = append(l.decisions, d)
	return d, nil
}

type observer struct {
	journal  *journal
	outcomes []admission.Outcome
}

func (o *observer) Reviewed(_ context.Context, outcome admission.Outcome) {
	o.journal.log("observed")
	o.outcomes = append(o.outcomes, outcome)
}

// fixture is a gate in front of one platform workspace, denied and marked until it has its MODEL.
type fixture struct {
	journal
	gate     *admission.Gate
	facts    admission.Facts
	rules    ruleset
	ledger   ledger
	observer observer
	failures failures
}

var limits = admission.Limits{Facts: 500 * time.Millisecond, Policy: 250 * time.Millisecond, Request: 2 * time.Second}

const platformRow = `{"kind": "platform", "status": "online"}`

func newFixture(t testing.TB) *fixture {
	f := &fixture{facts: facts(t, platformRow)}
	f.ledger.journal, f.observer.journal = &f.journal, &f.journal
	f.rules = ruleset{revision: "r1", evaluate: requireModel}
	f.gate = &admission.Gate{
		Facts: factsFunc(func(context.Context, uuid.UUID) (admission.Facts, error) {
			f.log("facts")
			return f.facts, nil
		}),
		Policy: policyFunc(func() admission.Ruleset {
			f.log("policy")
			return ruleset{revision: f.rules.revision, mask: f.rules.mask, evaluate: func(ctx context.Context, in admission.Input) ([]admission.Violation, error) {
				f.log("evaluate")
				return f.rules.evaluate(ctx, in)
			}}
		}),
		Ledger: &f.ledger, Failures: &f.failures, Observer: &f.observer, Limits: limits, Now: time.Now,
	}
	return f
}

var modelMissing = admission.Violation{
	Rule: "platform_requires_model", Code: "PLATFORM_AGENT_IDENTITY_GATE", Reason: "model_missing", Message: "no MODEL",
	Severity: admission.Critical, Enforcement: admission.Deny, Status: 400, MarkFailed: true,
}

func requireModel(_ context.Context, in admission.Input) ([]admission.Violation, error) {
	if slices.Contains(in.Facts.SecretKeys, "MODEL") {
		return nil, nil
	}
	return []admission.Violation{modelMissing}, nil
}

// review puts body before the gate and gives what came out, and checks what holds of every review.
func (f *fixture) review(ctx context.Context, t require.TestingT, one admission.Review) (admission.Decision, *admission.Error) {
	heard := len(f.observer.outcomes)
	decision, err := f.gate.Review(ctx, one)
	require.Len(t, f.observer.outcomes, heard+1, "the observer hears of a review exactly once")
	outcome := f.observer.outcomes[heard]
	require.Equal(t, one, outcome.Review)
	if err == nil {
		require.Nil(t, outcome.Err)
		require.Equal(t, decision, outcome.Decision)
		return decision, nil
	}
	require.Equal(t, admission.Decision{}, decision, "an error comes without a decision")
	var coded *admission.Error
	require.ErrorAs(t, err, &coded)
	require.Equal(t, coded, outcome.Err)
	return decision, coded
}

func failing(string) error { return errors.New("connection refused by 10.0.0.7") }

// hang waits for the end of ctx, as a port does that heeds its deadline.
func hang(ctx context.Context) error {
	<-ctx.Done()
	return fmt.Errorf("waiting: %w", ctx.Err())
}
