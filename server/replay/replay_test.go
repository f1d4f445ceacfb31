package replay_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/ledger"
	"github.com/molecule-ai/gatehouse/server/replay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// records are decisions in memory, the oldest first.
type records []admission.Decision

func (r records) Decisions(_ context.Context, q ledger.Query) ([]ledger.Decision, error) {
	var page []ledger.Decision
	if q.OldestFirst {
		r = slices.Clone(r)
		slices.Reverse(r)
	}
	for i, d := range slices.Backward(r) {
		after := q.After == uuid.Nil || strings.Compare(d.ID.String(), q.After.String()) < 0
		if after && q.Passes(&d) && len(page) < q.Limit {
			page = append(page, ledger.Decision{Decision: d, Seq: int64(i + 1)})
		}
	}
	return page, nil
}

// record is the nth decision, of an input that says what the candidate is to answer: a code, "" for an allow.
func record(t testing.TB, n int, recorded, now string) admission.Decision {
	t.Helper()
	at := start.Add(time.Duration(n) * time.Second)
	id, err := admission.NewDecisionID(at)
	require.NoError(t, err)
	return admission.Decision{
		ID: id, At: at, Hook: "register", WorkspaceID: uuid.New(), Verdict: says(recorded, "r1"),
		Input: jsontext.Value(`{"hook": "register", "request": {"now": "` + now + `"}, "facts": {"workspace": {}}}`),
	}
}

func says(code, revision string) admission.Verdict {
	v := admission.Verdict{Revision: revision}
	if code != "" {
		v.Violations = []admission.Violation{{
			Rule: strings.ToLower(code), Code: code, Reason: "r", Message: "m", Severity: admission.High, Enforcement: admission.Deny, Status: 400,
		}}
	}
	return v
}

// rules answer what the input says.
type rules struct {
	reads    []string
	evaluate func(in admission.Input, at time.Time) error
}

func (rules) HasHook(hook string) bool { return hook == "register" }

func (r rules) ReadPointers(string) []string { return r.reads }

func (r rules) Evaluate(ctx context.Context, in admission.Input, at time.Time) (admission.Verdict, error) {
	if r.evaluate != nil {
		err := r.evaluate(in, at)
		if err != nil {
			return admission.Verdict{}, err
		}
	}
	_, now, _ := strings.Cut(string(in.Request), `"now": "`)
	return says(strings.TrimSuffix(now, `"}`), "r2"), ctx.Err()
}

func run(t *testing.T, source replay.Source, by rules, o replay.Options) replay.Report {
	t.Helper()
	report, err := replay.Run(t.Context(), source, replay.Candidate{Rules: by, Revision: "r2"}, o)
	require.NoError(t, err)
	require.Equal(t, report.Read, report.Evaluated+report.Skipped.Total())
	require.Equal(t, report.Evaluated, report.Unchanged+report.Flipped+report.Failed)
	return report
}

func TestReplayGroupsFlipsByKindAndRule(t *testing.T) {
	history := records{
		record(t, 0, "A", ""), record(t, 1, "A", "A"), record(t, 2, "", "B"), record(t, 3, "A", ""), record(t, 4, "B", ""),
		record(t, 5, "A", "B"), record(t, 6, "", ""), record(t, 7, "A", ""),
	}
	got := run(t, history, rules{}, replay.Options{Examples: 2})
	require.Equal(t, map[string]int64{"r1": 8}, got.Recorded)
	require.Equal(t, []int64{8, 8, 2, 6}, []int64{got.Read, got.Evaluated, got.Unchanged, got.Flipped})
	require.Equal(t, history[0].At, got.Oldest)
	require.Equal(t, history[7].At, got.Newest)
	var flips []string
	for _, flip := range got.Flips {
		flips = append(flips, fmt.Sprint(flip.Kind, " ", flip.Rule, " ", flip.Code, " ", flip.Count, " ", len(flip.Examples)))
	}
	require.Equal(t, []string{"deny_to_allow a A 3 2", "deny_to_allow b B 1 1", "allow_to_deny b B 1 1", "changed a A 1 1"}, flips)
	require.EqualValues(t, 4, got.Count(admission.DenyToAllow))

	first := got.Flips[0]
	require.Equal(t, []time.Time{history[0].At, history[7].At}, []time.Time{first.First, first.Last})
	require.Equal(t, []uuid.UUID{history[7].ID, history[3].ID}, []uuid.UUID{first.Examples[0].DecisionID, first.Examples[1].DecisionID}, "the newest")
	require.Equal(t, history[7].WorkspaceID, first.Examples[0].WorkspaceID)
	require.False(t, first.Examples[0].Live.Allowed)
	require.Equal(t, "A", first.Examples[0].Live.Violations[0].Code)
	require.True(t, first.Examples[0].Candidate.Allowed)
}

func TestReplayEvaluatesAtTheTimeOfTheDecision(t *testing.T) {
	history := records{record(t, 0, "A", "A")}
	history[0].DryRun, history[0].Unenforced = true, true // it was answered as an allow
	got := run(t, history, rules{evaluate: func(in admission.Input, at time.Time) error {
		require.Equal(t, history[0].At, at)
		require.Equal(t, "register", in.Hook)
		return nil
	}}, replay.Options{})
	require.EqualValues(t, 1, got.Unchanged)
}

func TestReplayCountsSkippedDecisionsByReason(t *testing.T) {
	history := make(records, 12)
	for i := range history {
		history[i] = record(t, i, "A", "")
	}
	history[0].Failed = &admission.Failure{Code: admission.CodePolicyError}
	history[1].Hook = "heartbeat"
	history[2].Input, history[2].Redaction = jsontext.Value("null"), admission.ErasedWhole()
	history[3].Redaction.Erased = []string{"/input/request/kind"}
	history[4].Redaction.Masked = []string{"/input/request"}
	history[5].Redaction.Masked = []string{"/input/request/kind/below"}
	history[6].Redaction.Erased = []string{"/input/request/other"}
	history[7].Redaction.Masked = []string{admission.CardPointer}
	history[8].Redaction = admission.Redaction{Masked: []string{admission.CardPointer}, Erased: []string{admission.NamePointer}}
	history[9].Redaction.Masked = []string{"/input/facts"}
	history[9].Input = jsontext.Value(`{"hook": "register", "facts": "***"}`)
	history[10].Input = jsontext.Value(`{"hook": `)
	got := run(t, history, rules{reads: []string{"/input/request/kind", admission.NamePointer}}, replay.Options{})
	require.Equal(t, replay.Skipped{
		Failed: 1, Unreadable: 1, UnknownHooks: map[string]int64{"heartbeat": 1},
		Redacted: map[string]int64{
			"/input": 1, "/input/request/kind": 1, "/input/request": 1, "/input/request/kind/below": 1,
			admission.NamePointer: 1, "/input/facts": 1,
		},
	}, got.Skipped)
	require.EqualValues(t, 3, got.Flipped)
}

func TestReplayGroupsErrorsOfTheCandidate(t *testing.T) {
	history := records{record(t, 0, "A", "A"), record(t, 1, "", ""), record(t, 2, "A", "A")}
	calls := 0
	got := run(t, history, rules{evaluate: func(admission.Input, time.Time) error {
		calls++
		switch calls {
		case 1:
			return errors.New(strings.Repeat("x", 600))
		case 2:
			panic("the engine broke")
		}
		return nil
	}}, replay.Options{Examples: 5, Parallel: 1})
	require.EqualValues(t, 2, got.Failed)
	require.EqualValues(t, 0, got.Flipped)
	require.Len(t, got.Flips, 1)
	require.Equal(t, admission.CandidateError, got.Flips[0].Kind)
	require.Len(t, got.Flips[0].Examples[0].Error, 503, "clipped")
	require.Contains(t, got.Flips[0].Examples[1].Error, "panicked")
	require.False(t, got.Flips[0].Examples[1].Candidate.Allowed)
}

func TestReplayFilterAndLimit(t *testing.T) {
	var history records
	for i := range 300 {
		history = append(history, record(t, i, []string{"A", "", "B"}[i%3], ""))
	}
	for name, test := range map[string]struct {
		o    replay.Options
		want int64
	}{
		"all":        {replay.Options{}, 300},
		"limit":      {replay.Options{Limit: 70}, 70},
		"page":       {replay.Options{Limit: 64}, 64},
		"code":       {replay.Options{Filter: ledger.Filter{Code: "A"}}, 100},
		"since":      {replay.Options{Filter: ledger.Filter{Since: start.Add(290 * time.Second)}}, 10},
		"until":      {replay.Options{Filter: ledger.Filter{Until: start.Add(10 * time.Second)}}, 10},
		"workspace":  {replay.Options{Filter: ledger.Filter{WorkspaceID: history[7].WorkspaceID}}, 1},
		"other hook": {replay.Options{Filter: ledger.Filter{Hook: "heartbeat"}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.want, run(t, history, rules{}, test.o).Read)
		})
	}
}

// Any number of workers gives the same report.
func TestReplayReportIsTheSameForAnyNumberOfWorkers(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		code := rapid.SampledFrom([]string{"", "", "A", "B", "C"})
		var history records
		for i := range rapid.IntRange(0, 400).Draw(rt, "decisions") {
			history = append(history, record(t, i, code.Draw(rt, "recorded"), code.Draw(rt, "now")))
		}
		var reports [2]replay.Report
		for i, parallel := range []int{1, 7} {
			var last atomic.Pointer[replay.Progress]
			report, err := replay.Run(t.Context(), history, replay.Candidate{Rules: rules{}}, replay.Options{
				Parallel: parallel, Examples: 3, Progress: func(p replay.Progress) { last.Store(&p) },
			})
			require.NoError(rt, err)
			report.Candidate = replay.Candidate{}
			reports[i] = report
			if len(history) > 0 {
				require.Equal(rt, replay.Progress{
					Read: int64(len(history)), Newest: history[len(history)-1].At, Reached: start, Oldest: start,
				}, *last.Load())
			}
		}
		require.Equal(rt, reports[0], reports[1])
	})
}

func TestReplayReportsWhatACancelledRunFound(t *testing.T) {
	var history records
	for i := range 500 {
		history = append(history, record(t, i, "A", ""))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var evaluated atomic.Int64
	report, err := replay.Run(ctx, history, replay.Candidate{Rules: rules{evaluate: func(admission.Input, time.Time) error {
		if evaluated.Add(1) == 100 {
			cancel()
		}
		return nil
	}}}, replay.Options{Parallel: 1})
	require.ErrorIs(t, err, context.Canceled)
	require.EqualValues(t, 99, report.Flipped)
}

type broken struct {
	records
	after int
	read  int
}

func (b *broken) Decisions(ctx context.Context, q ledger.Query) ([]ledger.Decision, error) {
	b.read++
	if b.read > b.after {
		return nil, errors.New("the database is away")
	}
	return b.records.Decisions(ctx, q)
}

func TestReplayEndsWhereItsSourceFails(t *testing.T) {
	var history records
	for i := range 200 {
		history = append(history, record(t, i, "A", ""))
	}
	report, err := replay.Run(t.Context(), &broken{records: history, after: 1}, replay.Candidate{Rules: rules{}}, replay.Options{})
	require.ErrorContains(t, err, "reading decisions: the database is away")
	require.LessOrEqual(t, report.Read, int64(64))
}

// turnFunc are turns that need not be given back.
type turnFunc func(ctx context.Context) error

func (t turnFunc) Take(ctx context.Context) error { return t(ctx) }

func (turnFunc) Give() {}

func TestReplayEvaluationsTakeTurns(t *testing.T) {
	history := records{record(t, 0, "A", ""), record(t, 1, "A", "")}
	turns := 0
	run(t, history, rules{}, replay.Options{Parallel: 1, Evaluator: admission.Evaluator{Turns: turnFunc(func(context.Context) error {
		turns++
		return nil
	})}})
	require.Equal(t, 2, turns)
	ctx, cancel := context.WithCancel(t.Context())
	report, err := replay.Run(ctx, history, replay.Candidate{Rules: rules{}}, replay.Options{Evaluator: admission.Evaluator{Turns: turnFunc(func(ctx context.Context) error {
		cancel()
		return ctx.Err()
	})}})
	require.ErrorIs(t, err, context.Canceled)
	require.Zero(t, report.Evaluated)
}

// large makes decisions as they are read, each with an input of a size.
type large struct {
	size, left int
	pages      []int // bytes of each
}

func (l *large) Decisions(_ context.Context, q ledger.Query) ([]ledger.Decision, error) {
	page := make([]ledger.Decision, min(q.Limit, l.left))
	for i := range page {
		page[i].Decision = admission.Decision{
			ID: uuid.New(), At: start, Hook: "register", Failed: &admission.Failure{},
			Input: jsontext.Value(`"` + strings.Repeat("x", l.size) + `"`),
		}
	}
	l.left -= len(page)
	l.pages = append(l.pages, len(page)*l.size)
	return page, nil
}

// At most three pages are in memory: one that is read, one that waits, and one for each worker.
func TestReplayPagesAreBoundedInBytes(t *testing.T) {
	source := &large{size: 1 << 20, left: 100}
	require.EqualValues(t, 100, run(t, source, rules{}, replay.Options{}).Read)
	for _, bytes := range source.pages[1:] {
		require.LessOrEqual(t, bytes, 4<<20)
	}
	source = &large{size: 1000, left: 5000}
	require.EqualValues(t, 5000, run(t, source, rules{}, replay.Options{}).Read)
	require.Less(t, len(source.pages), 10)
}

// A replay looks back a week by default, but there may be decisions of the last hour only. Progress is a share of that hour.
func TestReplayProgress(t *testing.T) {
	var history records
	for i := range 400 {
		history = append(history, record(t, i, "", ""))
	}
	var shares []float64
	o := replay.Options{Filter: ledger.Filter{Since: start.Add(-7 * 24 * time.Hour)}, Parallel: 1}
	o.Progress = func(p replay.Progress) { shares = append(shares, o.Fraction(p)) }
	run(t, history, rules{}, o)
	require.Greater(t, len(shares), 1)
	require.InDelta(t, 63.0/399, shares[0], 1e-9, "64 of 400")
	require.IsIncreasing(t, shares)
	require.InDelta(t, 1, shares[len(shares)-1], 0)
}

func TestFractionIsOfTheTimeOrOfTheLimit(t *testing.T) {
	two := replay.Progress{Read: 5, Newest: start, Reached: start.Add(-2 * time.Hour), Oldest: start.Add(-8 * time.Hour)}
	require.InDelta(t, 0.25, replay.Options{}.Fraction(two), 1e-9)
	require.InDelta(t, 0.5, replay.Options{Limit: 10}.Fraction(two), 1e-9)
	require.Zero(t, replay.Options{}.Fraction(replay.Progress{Oldest: start}))
	require.InDelta(t, 1, replay.Options{}.Fraction(replay.Progress{Read: 1, Newest: start, Reached: start, Oldest: start}), 0)
}

// Where the fast path and OPA disagree on a decision, neither verdict is taken. The report counts the decision and names the
// rules.
func TestReplayCountsAndNamesWhereEvaluatorsDisagree(t *testing.T) {
	history := records{record(t, 0, "A", "A"), record(t, 1, "", ""), record(t, 2, "A", "A")}
	got := run(t, history, rules{evaluate: func(admission.Input, time.Time) error {
		return fmt.Errorf("evaluating: %w", &admission.Disagreement{Rules: []string{"tier_range"}})
	}}, replay.Options{Examples: 5, Parallel: 1})
	require.EqualValues(t, 3, got.Disagreed)
	require.EqualValues(t, 3, got.Failed)
	require.Zero(t, got.Unchanged)
	require.Len(t, got.Flips, 1)
	require.Equal(t, admission.CandidateError, got.Flips[0].Kind)
	require.Equal(t, "tier_range", got.Flips[0].Rule)
	require.Contains(t, got.Flips[0].Examples[0].Error, "evaluators disagree on rule tier_range")
}
