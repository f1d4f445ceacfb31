package storetest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

var decisionsTests = map[string]func(*testing.T, Harness){
	"a summary counts what each code denied, and what it would have denied": func(t *testing.T, h Harness) {
		since, agent := time.Now().Add(-time.Hour), uuid.New()
		warned := func(code string, enforcement admission.Enforcement, more ...admission.Violation) admission.Verdict {
			quiet := admission.Violation{Rule: "url_safety", Code: code, Reason: "r", Message: "m", Severity: admission.Low, Enforcement: enforcement, Status: 400}
			twice := quiet
			twice.Reason = "another"
			return admission.NewVerdict(append(more, quiet, twice), revision)
		}
		old := decision(t, agent, warned("URL_UNSAFE", admission.Audit))
		old.At = since.Add(-time.Second).UTC().Truncate(time.Microsecond)
		var err error
		old.ID, err = admission.NewDecisionID(old.At)
		require.NoError(t, err)
		for _, d := range []admission.Decision{
			old, decision(t, agent, allowed()), decision(t, agent, warned("URL_UNSAFE", admission.Audit)), decision(t, agent, denied(modelMissing)), failed(t, ""),
			decision(t, agent, warned("URL_UNSAFE", admission.Audit, deny(modelMissing))), decision(t, agent, warned("TIER_RANGE", admission.Warn)),
		} {
			mustRecord(t, h.Store(), d)
		}
		last := decision(t, uuid.New(), warned("URL_UNSAFE", admission.Audit))
		mustRecord(t, h.Store(), last)

		got, err := h.Store().Summarize(t.Context(), ledger.Filter{Since: since})
		require.NoError(t, err)
		none, err := h.Store().Summarize(t.Context(), ledger.Filter{Hook: "nobody"})
		require.NoError(t, err)

		require.Equal(t, []int64{7, 4, 2, 1}, []int64{got.Decisions, got.Allowed, got.Denied, got.Failed})
		require.Len(t, got.Codes, 3)
		require.Equal(t, ledger.CodeSummary{
			Code: "URL_UNSAFE", Hook: hook, Enforcement: admission.Audit, Decisions: 3, WouldDeny: 2, Workspaces: 2, Last: last.At, Example: last.ID,
		}, got.Codes[0], "that of before the span is not counted, two violations of one decision count once, what was denied anyway would not be")
		require.Equal(t, []any{"TIER_RANGE", int64(1), int64(1)}, []any{got.Codes[1].Code, got.Codes[1].Decisions, got.Codes[1].WouldDeny})
		require.Equal(t, []any{identityGate, int64(2), int64(0)}, []any{got.Codes[2].Code, got.Codes[2].Decisions, got.Codes[2].WouldDeny})
		require.Equal(t, ledger.Summary{Codes: []ledger.CodeSummary{}}, none)
	},
	"a decision is read by its id as it was recorded": func(t *testing.T, h Harness) {
		id := uuid.New()
		h.PutWorkspace(t, id, platform())
		marked := mustRegister(t, h.Store(), withUID(decision(t, id, allowed()), "uid-marked", "body"))
		dry := decision(t, uuid.New(), denied(modelMissing))
		dry.DryRun, dry.Unenforced = true, true
		redacted := decision(t, uuid.New(), allowed())
		redacted.Redaction = admission.Redaction{Erased: []string{"/input/request/a~1b"}, Masked: []string{"/input/request/agent_card", "/input/é"}}
		for _, d := range []admission.Decision{decision(t, uuid.New(), allowed()), dry, redacted, failed(t, "uid-failed")} {
			mustRecord(t, h.Store(), d)
			requireRead(t, d, read(t, h.Store(), d.ID))
		}
		requireRead(t, marked, read(t, h.Store(), marked.ID))
	},
	"an id that no decision has is ErrNoDecision": func(t *testing.T, h Harness) {
		mustRecord(t, h.Store(), decision(t, uuid.New(), allowed()))

		_, err := h.Store().Decision(t.Context(), uuid.New())

		require.ErrorIs(t, err, ledger.ErrNoDecision)
	},
	"an error claims no uid: the same request is decided when it comes again": func(t *testing.T, h Harness) {
		first, last := failed(t, "uid-1"), failed(t, "uid-1")
		mustRecord(t, h.Store(), first)
		_, err := h.Store().Recorded(t.Context(), key("uid-1"))
		require.ErrorIs(t, err, admission.ErrNotRecorded)
		answered := withUID(decision(t, first.WorkspaceID, allowed()), "uid-1", "body")

		recorded, err := h.Store().Record(t.Context(), answered)
		require.NoError(t, err)
		mustRecord(t, h.Store(), last)
		again, err := h.Store().Recorded(t.Context(), key("uid-1"))
		require.NoError(t, err)

		require.Equal(t, answered.ID, recorded.ID)
		require.Equal(t, answered.ID, again.ID)
		require.ElementsMatch(t, []uuid.UUID{first.ID, answered.ID, last.ID},
			ids(list(t, h.Store(), ledger.Filter{UID: "uid-1"}, true, 10)))
	},
	"any filter selects what it says, in both orders, in pages of any size": func(t *testing.T, h Harness) {
		all := history(t, h.Store(), 150)
		rapid.Check(t, func(rt *rapid.T) {
			filter := anyFilter(rt, all)
			var want []uuid.UUID
			for i := range all {
				if filter.Passes(&all[i]) {
					want = append(want, all[i].ID)
				}
			}
			oldestFirst := rapid.Bool().Draw(rt, "oldest first")
			if !oldestFirst {
				slices.Reverse(want)
			}

			got := list(t, h.Store(), filter, oldestFirst, rapid.IntRange(1, 200).Draw(rt, "page"))

			require.Equal(rt, want, ids(got))
		})
	},
	"a page has whole decisions": func(t *testing.T, h Harness) {
		all := history(t, h.Store(), 40)

		got := list(t, h.Store(), ledger.Filter{}, true, 7)

		require.Len(t, got, len(all))
		for i := range all {
			requireRead(t, all[i], got[i])
		}
	},
	"what is written meanwhile makes no page skip or repeat what was there": func(t *testing.T, h Harness) {
		all := history(t, h.Store(), 60)
		before := time.Now().UTC()
		ctx, cancel := context.WithCancel(t.Context())
		var writing sync.WaitGroup
		writing.Go(func() {
			for ctx.Err() == nil {
				mustRecord(t, h.Store(), decision(t, uuid.New(), allowed()))
			}
		})
		for _, oldestFirst := range []bool{true, false} {
			times := make(map[uuid.UUID]int)
			for _, d := range list(t, h.Store(), ledger.Filter{Until: before}, oldestFirst, 7) {
				times[d.Decision.ID]++
			}
			require.Len(t, times, len(all))
			for _, d := range all {
				require.Equal(t, 1, times[d.ID])
			}
		}
		cancel()
		writing.Wait()
	},
	"the ledger has every decision once, in rising order": func(t *testing.T, h Harness) {
		last, err := h.Store().LastDecisionSeq(t.Context())
		require.NoError(t, err)
		require.Zero(t, last)
		all := history(t, h.Store(), 30)

		ledger := readDecisions(t, h.Store(), 7)

		require.Len(t, ledger, len(all))
		require.ElementsMatch(t, ids(ledger), idsOf(all))
		require.Equal(t, ledger, readDecisions(t, h.Store(), 1000))
		last, err = h.Store().LastDecisionSeq(t.Context())
		require.NoError(t, err)
		require.Equal(t, ledger[len(ledger)-1].Seq, last)
		for _, d := range ledger {
			require.Equal(t, d, read(t, h.Store(), d.Decision.ID))
		}
		writers, err := h.Store().DecisionWriters(t.Context())
		require.NoError(t, err)
		require.Empty(t, writers)
	},
	"a decision that is recorded later comes later in the ledger, whatever its time": func(t *testing.T, h Harness) {
		now := time.Now().UTC().Truncate(time.Microsecond)
		newer, older := at(t, decision(t, uuid.New(), allowed()), now), at(t, decision(t, uuid.New(), allowed()), now.Add(-time.Hour))
		mustRecord(t, h.Store(), newer)
		mustRecord(t, h.Store(), older)

		require.Equal(t, []uuid.UUID{newer.ID, older.ID}, ids(readDecisions(t, h.Store(), 10)))
	},
	"reading decisions ends with its context": func(t *testing.T, h Harness) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()

		_, err := h.Store().Decision(ctx, uuid.New())
		require.ErrorIs(t, err, context.Canceled)
		_, err = h.Store().Decisions(ctx, ledger.Query{Limit: 1})
		require.ErrorIs(t, err, context.Canceled)
		_, err = h.Store().DecisionsAfter(ctx, 0, 1)
		require.ErrorIs(t, err, context.Canceled)
	},
	"how far a collector has come is kept, for each of them": func(t *testing.T, h Harness) {
		shipped := func(collector string) int64 {
			seq, err := h.Store().ShippedSeq(t.Context(), collector)
			require.NoError(t, err)
			return seq
		}
		require.Zero(t, shipped("one"))

		require.NoError(t, h.Store().SetShippedSeq(t.Context(), "one", 17))
		require.NoError(t, h.Store().SetShippedSeq(t.Context(), "other", 1))
		require.NoError(t, h.Store().SetShippedSeq(t.Context(), "one", 1<<40))

		require.EqualValues(t, 1<<40, shipped("one"))
		require.EqualValues(t, 1, shipped("other"))
	},
}

// failed is the record of a review that was answered with an error; its input could not be kept.
func failed(t require.TestingT, uid string) admission.Decision {
	d := withUID(decision(t, uuid.New(), admission.Verdict{Revision: revision}), uid, "body")
	d.Failed = &admission.Failure{Code: admission.CodePolicyError, Detail: "the policies gave no verdict – \"é\""}
	d.Input, d.Redaction = []byte("null"), admission.ErasedWhole()
	return d
}

// at makes d a decision of another time.
func at(t require.TestingT, d admission.Decision, when time.Time) admission.Decision {
	id, err := admission.NewDecisionID(when)
	require.NoError(t, err)
	d.ID, d.At = id, when
	return d
}

// history records n decisions of all sorts, of forty days and of moments that lie close together, and gives them
// in order of their ids.
func history(t testing.TB, s Store, n int) []admission.Decision {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Microsecond)
	workspaces := []uuid.UUID{uuid.New(), uuid.New(), uuid.New()}
	all := make([]admission.Decision, n)
	for i := range all {
		d := decision(t, workspaces[rand.IntN(len(workspaces))], allowed())
		switch rand.IntN(4) {
		case 0:
			violation := deny("it says no")
			violation.Code = fmt.Sprintf("CODE_%d", rand.IntN(3))
			d.Verdict = admission.NewVerdict([]admission.Violation{violation, deny(modelMissing)}, revision)
		case 1:
			d.Verdict, d.Failed = admission.Verdict{Revision: revision}, &admission.Failure{Code: admission.CodeFactsUnavailable, Detail: "no facts"}
		}
		if rand.IntN(2) == 0 {
			d.Hook = "heartbeat"
		}
		if rand.IntN(3) == 0 {
			d = withUID(d, uuid.NewString(), "body")
		}
		when := now.Add(-time.Duration(rand.IntN(40)) * 24 * time.Hour).Add(-time.Duration(rand.IntN(5000)) * time.Microsecond)
		d = at(t, d, when)
		if rand.IntN(8) == 0 { // an id as it was made before ids were made of times
			d.ID = at(t, d, when.Add(30*time.Second)).ID
		}
		mustRecord(t, s, d)
		all[i] = d
	}
	slices.SortFunc(all, func(a, b admission.Decision) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return all
}

// anyFilter draws a filter of values that occur, and of some that do not.
func anyFilter(rt *rapid.T, all []admission.Decision) ledger.Filter {
	some := all[rapid.IntRange(0, len(all)-1).Draw(rt, "some decision")]
	draw := func(what string) bool { return rapid.IntRange(0, 3).Draw(rt, what+", 0 for yes") == 0 }
	var filter ledger.Filter
	if draw("hook") {
		filter.Hook = rapid.SampledFrom([]string{"register", "heartbeat", "none"}).Draw(rt, "hook")
	}
	if draw("allowed") {
		filter.Allowed = new(rapid.Bool().Draw(rt, "allowed"))
	}
	if draw("failed") {
		filter.Failed = new(rapid.Bool().Draw(rt, "failed"))
	}
	if draw("code") {
		filter.Code = rapid.SampledFrom([]string{"CODE_0", identityGate, string(admission.CodeFactsUnavailable), "NONE"}).Draw(rt, "code")
	}
	if draw("workspace") {
		filter.WorkspaceID = some.WorkspaceID
	}
	if draw("uid") {
		filter.UID = some.UID
	}
	if draw("since") {
		filter.Since = all[rapid.IntRange(0, len(all)-1).Draw(rt, "since")].At
	}
	if draw("until") {
		filter.Until = all[rapid.IntRange(0, len(all)-1).Draw(rt, "until")].At
	}
	return filter
}

// list reads all that a filter selects, page by page.
func list(t testing.TB, s Store, filter ledger.Filter, oldestFirst bool, page int) []ledger.Decision {
	t.Helper()
	query := ledger.Query{Filter: filter, OldestFirst: oldestFirst, Limit: page}
	var all []ledger.Decision
	for {
		found, err := s.Decisions(t.Context(), query)
		require.NoError(t, err)
		require.LessOrEqual(t, len(found), page)
		all = append(all, found...)
		if len(found) < page {
			return all
		}
		query.After = found[len(found)-1].Decision.ID
	}
}

// readDecisions reads the whole ledger, in pages.
func readDecisions(t testing.TB, s Store, page int) []ledger.Decision {
	t.Helper()
	var all []ledger.Decision
	after := int64(0)
	for {
		found, err := s.DecisionsAfter(t.Context(), after, page)
		require.NoError(t, err)
		for _, d := range found {
			require.Greater(t, d.Seq, after)
			after = d.Seq
		}
		all = append(all, found...)
		if len(found) < page {
			return all
		}
	}
}

func read(t testing.TB, s Store, id uuid.UUID) ledger.Decision {
	t.Helper()
	d, err := s.Decision(t.Context(), id)
	require.NoError(t, err)
	return d
}

// requireRead says that got is want as a page or a look-up gives it: without the digest of its request.
func requireRead(t testing.TB, want admission.Decision, got ledger.Decision) {
	t.Helper()
	want.Digest = [32]byte{}
	require.Positive(t, got.Seq)
	requireSame(t, want, got.Decision)
}

func ids(decisions []ledger.Decision) []uuid.UUID {
	var all []uuid.UUID
	for _, d := range decisions {
		all = append(all, d.Decision.ID)
	}
	return all
}

func idsOf(decisions []admission.Decision) []uuid.UUID {
	var all []uuid.UUID
	for _, d := range decisions {
		all = append(all, d.ID)
	}
	return all
}
