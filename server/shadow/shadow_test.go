package shadow_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/shadow"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen; only a test that fails spends it.
const patience = 30 * time.Second

// store keeps what it is given.
type store struct {
	mu          sync.Mutex
	divergences []shadow.Divergence
	batches     int
	counts      map[shadow.Pair]shadow.Counts
	pruned      int
	fail        error
}

func (s *store) RecordDivergences(_ context.Context, batch []shadow.Divergence) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	s.batches++
	s.divergences = append(s.divergences, batch...)
	return nil
}

func (s *store) AddShadowCounts(_ context.Context, _ time.Time, counts map[shadow.Pair]shadow.Counts) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	for pair, more := range counts {
		sum := s.counts[pair]
		s.counts[pair] = shadow.Counts{
			Evaluated: sum.Evaluated + more.Evaluated, Diverged: sum.Diverged + more.Diverged,
			Failed: sum.Failed + more.Failed, Dropped: sum.Dropped + more.Dropped,
		}
	}
	return nil
}

func (s *store) PruneDivergences(_ context.Context, before time.Time, keep int) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(before) > 29*24*time.Hour && keep == 100_000 {
		s.pruned++
	}
	return 0, s.fail
}

func (s *store) stored() []shadow.Divergence {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]shadow.Divergence{}, s.divergences...)
}

func (s *store) sum() shadow.Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[shadow.Pair{Live: "live", Candidate: "candidate"}]
}

// meter counts by name.
type meter struct {
	mu     sync.Mutex
	counts map[string]int
}

func (m *meter) add(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts[name]++
}

func (m *meter) Evaluated(result string) { m.add("evaluated " + result) }
func (m *meter) Diverged(kind admission.DivergenceKind, code string) {
	m.add(fmt.Sprintf("%s %s", kind, code))
}
func (m *meter) Dropped()      { m.add("dropped") }
func (m *meter) RecordFailed() { m.add("record failed") }

func (m *meter) of(name string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.counts[name]
}

func (m *meter) evaluated() int {
	return m.of("evaluated same") + m.of("evaluated diverged") + m.of("evaluated error")
}

// rules are candidate policies made of a func.
type rules func(ctx context.Context, in admission.Input) (admission.Verdict, error)

func (r rules) Evaluate(ctx context.Context, in admission.Input, _ time.Time) (admission.Verdict, error) {
	return r(ctx, in)
}

func says(violations ...admission.Violation) rules {
	return func(context.Context, admission.Input) (admission.Verdict, error) {
		return admission.NewVerdict(violations, "candidate"), nil
	}
}

type fixture struct {
	*shadow.Shadow
	store *store
	meter *meter
}

func newShadow(t *testing.T, candidate rules, change func(*shadow.Options)) *fixture {
	t.Helper()
	f := &fixture{store: &store{counts: map[shadow.Pair]shadow.Counts{}}, meter: &meter{counts: map[string]int{}}}
	options := shadow.Options{
		Store: f.store, Meter: f.meter, Logger: slog.New(slog.DiscardHandler), Evaluator: admission.Evaluator{Timeout: patience},
		Pace: time.Microsecond, Report: time.Millisecond, Tidy: time.Millisecond,
	}
	if change != nil {
		change(&options)
	}
	f.Shadow = shadow.New(options)
	t.Cleanup(f.Close)
	if candidate != nil {
		f.Use(&shadow.Candidate{Rules: candidate, Revision: "candidate", Source: "test"})
	}
	return f
}

func outcome(violations ...admission.Violation) admission.Outcome {
	id := uuid.Must(uuid.NewV7())
	return admission.Outcome{
		Review: admission.Review{Hook: "register"},
		Decision: admission.Decision{
			ID: id, WorkspaceID: uuid.New(), At: time.Now().UTC(), Hook: "register", Verdict: admission.NewVerdict(violations, "live"),
		},
		Input: admission.Input{Hook: "register", Request: []byte(`{"id": "` + id.String() + `"}`), Facts: admission.Facts{Workspace: []byte("{}")}},
	}
}

func denying(code string, change ...func(*admission.Violation)) admission.Violation {
	v := admission.Violation{
		Rule: "rule_" + code, Code: code, Reason: "some_reason", Message: "It is so.", Severity: admission.High,
		Enforcement: admission.Deny, Status: 400,
	}
	for _, c := range change {
		c(&v)
	}
	return v
}

func (f *fixture) wait(t *testing.T, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, patience, time.Millisecond)
}

func TestShadowStoresEveryDivergence(t *testing.T) {
	warning := denying("A", func(v *admission.Violation) { v.Enforcement, v.Declared = admission.Warn, admission.Deny })
	for name, test := range map[string]struct {
		live, candidate []admission.Violation
		kind            admission.DivergenceKind
		code            string
	}{
		"both allow":          {nil, nil, "", ""},
		"both deny alike":     {[]admission.Violation{denying("A"), denying("B")}, []admission.Violation{denying("B"), denying("A")}, "", ""},
		"other words":         {[]admission.Violation{denying("A")}, []admission.Violation{denying("A", func(v *admission.Violation) { v.Message, v.Rule = "x", "y" })}, "", ""},
		"deny to allow":       {[]admission.Violation{denying("A")}, nil, admission.DenyToAllow, "A"},
		"allow to deny":       {nil, []admission.Violation{denying("A")}, admission.AllowToDeny, "A"},
		"enforcement weaker":  {[]admission.Violation{denying("A")}, []admission.Violation{warning}, admission.DenyToAllow, "A"},
		"enforcement alone":   {[]admission.Violation{denying("B"), denying("A")}, []admission.Violation{denying("B"), warning}, admission.VerdictChanged, "A"},
		"other code":          {[]admission.Violation{denying("A")}, []admission.Violation{denying("B")}, admission.VerdictChanged, "A"},
		"other reason":        {[]admission.Violation{denying("A")}, []admission.Violation{denying("A", func(v *admission.Violation) { v.Reason = "another" })}, admission.VerdictChanged, "A"},
		"other status":        {[]admission.Violation{denying("A")}, []admission.Violation{denying("A", func(v *admission.Violation) { v.Status = 403 })}, admission.VerdictChanged, "A"},
		"a mark":              {[]admission.Violation{denying("A")}, []admission.Violation{denying("A", func(v *admission.Violation) { v.MarkFailed = true })}, admission.VerdictChanged, "A"},
		"one more":            {[]admission.Violation{denying("A")}, []admission.Violation{denying("A"), denying("C")}, admission.VerdictChanged, "C"},
		"one twice":           {[]admission.Violation{denying("A")}, []admission.Violation{denying("A"), denying("A")}, admission.VerdictChanged, "A"},
		"another comes first": {[]admission.Violation{denying("A"), denying("B")}, []admission.Violation{denying("A"), denying("B", func(v *admission.Violation) { v.Severity = admission.Critical })}, admission.VerdictChanged, "B"},
		"a warning more":      {nil, []admission.Violation{warning}, admission.VerdictChanged, "A"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newShadow(t, says(test.candidate...), nil)
			o := outcome(test.live...)
			f.Reviewed(t.Context(), o)
			f.wait(t, func() bool { return f.store.sum().Evaluated == 1 })
			f.Close()
			if test.kind == "" {
				require.Empty(t, f.store.stored())
				require.Equal(t, 1, f.meter.of("evaluated same"))
				require.Zero(t, f.store.sum().Diverged)
				return
			}
			require.Len(t, f.store.stored(), 1)
			got := f.store.stored()[0]
			require.EqualValues(t, 7, got.ID.Version())
			require.Equal(t, shadow.Divergence{
				ID: got.ID, At: o.Decision.At, Kind: test.kind, Rule: "rule_" + test.code, Code: test.code,
				DecisionID: o.Decision.ID, WorkspaceID: o.Decision.WorkspaceID, Hook: "register",
				Live: o.Decision.Verdict, Candidate: admission.NewVerdict(test.candidate, "candidate"),
			}, got)
			require.Equal(t, 1, f.meter.of(fmt.Sprintf("%s %s", test.kind, test.code)))
			require.Equal(t, shadow.Counts{Evaluated: 1, Diverged: 1}, f.store.sum())
		})
	}
}

func TestShadowStoresErrorsOfTheCandidate(t *testing.T) {
	long := errors.New("evaluating: " + string(make([]byte, 10_000)))
	for name, test := range map[string]struct {
		candidate rules
		says      string
	}{
		"an error": {func(context.Context, admission.Input) (admission.Verdict, error) {
			return admission.Verdict{}, errors.New("undefined")
		}, "undefined"},
		"a long one": {func(context.Context, admission.Input) (admission.Verdict, error) { return admission.Verdict{}, long }, "evaluating: "},
		"a panic":    {func(context.Context, admission.Input) (admission.Verdict, error) { panic("boom") }, "evaluating panicked: boom"},
		"its own deadline": {func(ctx context.Context, _ admission.Input) (admission.Verdict, error) {
			<-ctx.Done()
			return admission.Verdict{}, ctx.Err()
		}, "deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newShadow(t, test.candidate, func(o *shadow.Options) { o.Evaluator.Timeout = 5 * time.Millisecond })
			o := outcome(denying("A"))
			f.Reviewed(t.Context(), o)
			f.wait(t, func() bool { return len(f.store.stored()) == 1 })
			got := f.store.stored()[0]
			require.Equal(t, admission.CandidateError, got.Kind)
			require.Contains(t, got.Error, test.says)
			require.LessOrEqual(t, len(got.Error), 600)
			require.Equal(t, o.Decision.Verdict, got.Live)
			require.Equal(t, admission.Verdict{Revision: "candidate"}, got.Candidate)
			require.Equal(t, 1, f.meter.of("error "))
			f.Close()
			require.Equal(t, shadow.Counts{Evaluated: 1, Failed: 1}, f.store.sum())
		})
	}
}

func TestShadowIgnoresReviewsThatAreNoNewDecision(t *testing.T) {
	f := newShadow(t, says(denying("A")), nil)
	for _, change := range []func(*admission.Outcome){
		func(o *admission.Outcome) { o.Err = &admission.Error{Code: admission.CodePolicyError} },
		func(o *admission.Outcome) { o.Repeated = true },
		func(o *admission.Outcome) { o.Review.DryRun = true },
		func(o *admission.Outcome) { o.Decision.Verdict.Revision = "candidate" },
	} {
		o := outcome()
		change(&o)
		f.Reviewed(t.Context(), o)
	}
	f.Reviewed(t.Context(), outcome())
	f.wait(t, func() bool { return len(f.store.stored()) == 1 })
	f.Use(nil)
	f.Reviewed(t.Context(), outcome())
	f.Close()
	require.Equal(t, 1, f.meter.evaluated())
	require.Zero(t, f.meter.of("dropped"))
}

// A candidate that hangs delays no review. Reviews that do not fit into the queue are dropped, and each is counted.
func TestShadowDropsWhatItsQueueCannotHold(t *testing.T) {
	const reviews, queue = 500, 8
	release, begun := make(chan struct{}), make(chan struct{}, reviews)
	f := newShadow(t, func(context.Context, admission.Input) (admission.Verdict, error) {
		begun <- struct{}{}
		<-release
		return admission.NewVerdict(nil, "candidate"), nil
	}, func(o *shadow.Options) { o.Queue = queue })
	f.Reviewed(t.Context(), outcome())
	<-begun // one hangs, so nothing leaves the queue from here on

	returned := make(chan struct{})
	go func() {
		defer close(returned)
		var callers sync.WaitGroup
		for range reviews {
			callers.Go(func() { f.Reviewed(context.Background(), outcome()) })
		}
		callers.Wait()
	}()
	select {
	case <-returned:
	case <-time.After(patience):
		require.FailNow(t, "an observer of requests waits for the candidate")
	}
	require.Equal(t, queue, f.Queued())
	require.Equal(t, reviews-queue, f.meter.of("dropped"))
	close(release)
	f.wait(t, func() bool {
		return f.store.sum() == shadow.Counts{Evaluated: queue + 1, Dropped: reviews - queue}
	})
	require.Equal(t, queue+1, f.meter.of("evaluated same"))
}

func TestShadowQueueIsBoundedInBytes(t *testing.T) {
	release, begun := make(chan struct{}), make(chan struct{}, 10)
	f := newShadow(t, func(context.Context, admission.Input) (admission.Verdict, error) {
		begun <- struct{}{}
		<-release
		return admission.NewVerdict(nil, "candidate"), nil
	}, func(o *shadow.Options) { o.MaxSize = 2500 })
	large := outcome()
	large.Input.Request = make([]byte, 1000)
	f.Reviewed(t.Context(), large)
	<-begun
	for range 5 {
		f.Reviewed(t.Context(), large)
	}
	require.Equal(t, 2, f.Queued())
	require.Equal(t, 3, f.meter.of("dropped"))
	close(release)
	f.wait(t, func() bool { return f.meter.of("evaluated same") == 3 })
	f.Reviewed(t.Context(), large)
	f.wait(t, func() bool { return f.meter.of("evaluated same") == 4 })
}

// turnFunc are turns that need not be given back.
type turnFunc func(ctx context.Context) error

func (t turnFunc) Take(ctx context.Context) error { return t(ctx) }

func (turnFunc) Give() {}

// Live evaluations come first, and only one evaluation of a candidate runs at a time.
func TestShadowEvaluatesOneAtATimeInTurn(t *testing.T) {
	var turn = make(chan struct{})
	var running, most atomic.Int64
	f := newShadow(t, func(context.Context, admission.Input) (admission.Verdict, error) {
		most.Store(max(most.Load(), running.Add(1)))
		defer running.Add(-1)
		return admission.NewVerdict(nil, "candidate"), nil
	}, func(o *shadow.Options) {
		o.Evaluator.Turns = turnFunc(func(ctx context.Context) error {
			select {
			case <-turn:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	for range 50 {
		f.Reviewed(t.Context(), outcome())
	}
	require.Zero(t, f.meter.evaluated())
	for n := range 50 {
		turn <- struct{}{}
		f.wait(t, func() bool { return f.meter.evaluated() == n+1 })
	}
	require.EqualValues(t, 1, most.Load())
	f.Reviewed(t.Context(), outcome())
	f.Close() // while one waits for its turn
	require.Equal(t, shadow.Counts{Evaluated: 50, Dropped: 1}, f.store.sum())
}

func TestShadowWritesDivergencesInBatches(t *testing.T) {
	f := newShadow(t, says(denying("A")), func(o *shadow.Options) { o.Pace = 20 * time.Millisecond })
	for range 500 {
		f.Reviewed(t.Context(), outcome())
	}
	f.wait(t, func() bool { return len(f.store.stored()) == 500 })
	require.Less(t, f.store.batches, 100)
}

func TestShadowKeepsCountsWhileTheStoreIsAway(t *testing.T) {
	f := newShadow(t, says(denying("A")), nil)
	f.store.fail = errors.New("away")
	f.Reviewed(t.Context(), outcome())
	f.wait(t, func() bool { return f.meter.of("record failed") == 1 })
	f.store.mu.Lock()
	f.store.fail = nil
	f.store.mu.Unlock()
	f.wait(t, func() bool { return f.store.sum() == shadow.Counts{Evaluated: 1, Diverged: 1} })
	f.wait(t, func() bool { f.store.mu.Lock(); defer f.store.mu.Unlock(); return f.store.pruned > 0 })
	require.Empty(t, f.store.stored())
}

func TestPromoteTakesACandidateOnce(t *testing.T) {
	f := newShadow(t, nil, nil)
	activate := func(*shadow.Candidate) error { return nil }
	requireCode := func(err error, code admission.Code) {
		t.Helper()
		require.Error(t, err)
		require.Equal(t, code, admission.AsError(err).Code)
	}
	requireCode(f.Promote("", activate), admission.CodeNoCandidate)
	f.Use(&shadow.Candidate{Rules: says(), Revision: "candidate"})
	requireCode(f.Promote("another", activate), admission.CodeCandidateChanged)
	require.ErrorContains(t, f.Promote("candidate", func(*shadow.Candidate) error { return errors.New("older") }), "older")
	require.NotNil(t, f.Candidate(), "a candidate that was refused stays")

	var promoted atomic.Int64
	var callers sync.WaitGroup
	for range 20 {
		callers.Go(func() {
			_ = f.Promote("candidate", func(*shadow.Candidate) error { promoted.Add(1); return nil })
		})
	}
	callers.Wait()
	require.EqualValues(t, 1, promoted.Load())
	require.Nil(t, f.Candidate())
}

func TestCloseCountsTheQueueAsDropped(t *testing.T) {
	begun := make(chan struct{}, 10)
	f := newShadow(t, func(ctx context.Context, _ admission.Input) (admission.Verdict, error) {
		begun <- struct{}{}
		<-ctx.Done()
		return admission.Verdict{}, ctx.Err()
	}, nil)
	for range 3 {
		f.Reviewed(t.Context(), outcome())
	}
	<-begun
	f.Close()
	require.Equal(t, shadow.Counts{Dropped: 3}, f.store.sum(), "an evaluation that the end cut off is no error of the candidate")
	require.Empty(t, f.store.stored())
}

// Reviews that come before the candidate is loaded are counted as dropped. They must not look as if the candidate had agreed.
func TestExpectCountsReviewsBeforeTheCandidate(t *testing.T) {
	f := newShadow(t, nil, nil)
	f.Reviewed(t.Context(), outcome()) // no candidate is to come
	f.Expect()
	var reviewing sync.WaitGroup
	const reviews = 500
	for range reviews {
		reviewing.Go(func() { f.Reviewed(t.Context(), outcome()) })
	}
	reviewing.Go(func() {
		f.Use(&shadow.Candidate{Rules: says(), Revision: "candidate", Source: "test"})
	})
	repeated := outcome()
	repeated.Repeated = true
	f.Reviewed(t.Context(), repeated)
	reviewing.Wait()

	f.wait(t, func() bool { return f.meter.evaluated()+f.meter.of("dropped") == reviews })
	f.wait(t, func() bool {
		sum := f.store.sum()
		return sum.Evaluated+sum.Dropped == reviews && sum.Dropped == int64(f.meter.of("dropped"))
	})
}

func TestExpectCountsNothingForARefusedCandidate(t *testing.T) {
	f := newShadow(t, nil, nil)
	f.Expect()
	f.Reviewed(t.Context(), outcome())
	f.Use(nil)
	f.Use(&shadow.Candidate{Rules: says(), Revision: "candidate", Source: "test"})
	f.Reviewed(t.Context(), outcome())
	f.wait(t, func() bool { return f.meter.evaluated() == 1 })
	require.Zero(t, f.meter.of("dropped"))
}

// A candidate's error is cut to a bounded length. The cut may fall into a letter, and what is left must still be text.
func TestErrorTextIsValidAndBounded(t *testing.T) {
	require.Equal(t, "it failed", shadow.ErrorText(errors.New("it failed")))
	text := shadow.ErrorText(errors.New(strings.Repeat("a", 499) + "éé"))
	require.Equal(t, strings.Repeat("a", 499)+"\ufffd…", text)
	require.True(t, utf8.ValidString(text))
}
