package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/shadow"
)

// noPair asks for the pair that was compared last.
var noPair = shadow.Pair{}

var shadowPair = shadow.Pair{Live: "live-1", Candidate: "candidate-1"}

// divergence is one of a pair, at some second.
func divergence(t testing.TB, pair shadow.Pair, kind admission.DivergenceKind, code string, second int) shadow.Divergence {
	t.Helper()
	id, err := uuid.NewV7()
	require.NoError(t, err)
	violation := deny("it says \"no\" – \u2028")
	violation.Code, violation.Declared = code, admission.Warn
	d := shadow.Divergence{
		ID: id, At: time.Date(2026, 5, 1, 12, 0, second, 5000, time.UTC), Kind: kind, Rule: "rule_of_" + code, Code: code,
		DecisionID: uuid.New(), WorkspaceID: uuid.New(), Hook: hook,
		Live: admission.Verdict{Revision: pair.Live}, Candidate: admission.Verdict{Revision: pair.Candidate},
	}
	switch kind {
	case admission.DenyToAllow:
		d.Live.Violations = []admission.Violation{violation}
	case admission.CandidateError:
		d.Rule, d.Code, d.Error = "", "", "the candidate gave no verdict"
		d.Live.Violations = []admission.Violation{violation}
	default:
		d.Candidate.Violations = []admission.Violation{violation}
	}
	return d
}

// counted makes a pair known, as of some second.
func counted(t testing.TB, s Store, pair shadow.Pair, counts shadow.Counts, second int) {
	t.Helper()
	at := time.Date(2026, 5, 1, 12, 0, second, 0, time.UTC)
	require.NoError(t, s.AddShadowCounts(t.Context(), at, map[shadow.Pair]shadow.Counts{pair: counts}))
}

func summary(t testing.TB, s Store, pair shadow.Pair, examples int) shadow.Summary {
	t.Helper()
	got, err := s.ShadowSummary(t.Context(), pair, examples)
	require.NoError(t, err)
	return got
}

var shadowTests = map[string]func(*testing.T, Harness){
	"a store that compared nothing has nothing to say": func(t *testing.T, h Harness) {
		require.Equal(t, shadow.Summary{Flips: []shadow.Flip{}}, summary(t, h.Store(), noPair, 3))
		require.Equal(t, shadow.Summary{Pair: shadowPair, Flips: []shadow.Flip{}}, summary(t, h.Store(), shadowPair, 3))
	},
	"a divergence is read as it was stored, once": func(t *testing.T, h Harness) {
		counted(t, h.Store(), shadowPair, shadow.Counts{Evaluated: 1}, 0)
		stored := divergence(t, shadowPair, admission.DenyToAllow, "A", 1)
		failed := divergence(t, shadowPair, admission.CandidateError, "B", 2)
		for range 2 { // a batch whose first commit went unheard comes again
			require.NoError(t, h.Store().RecordDivergences(t.Context(), []shadow.Divergence{stored, failed}))
		}

		flips := summary(t, h.Store(), shadowPair, 3).Flips

		require.Equal(t, []shadow.Flip{
			{Kind: admission.DenyToAllow, Rule: "rule_of_A", Code: "A", Count: 1, First: stored.At, Last: stored.At, Examples: []shadow.Example{stored.Example()}},
			{Kind: admission.CandidateError, Count: 1, First: failed.At, Last: failed.At, Examples: []shadow.Example{failed.Example()}},
		}, flips)
		require.False(t, flips[0].Examples[0].Live.Allowed)
		require.True(t, flips[0].Examples[0].Candidate.Allowed)
		require.False(t, flips[1].Examples[0].Candidate.Allowed, "no verdict is no allow")
	},
	"flips are in order of kind and number, with their newest examples": func(t *testing.T, h Harness) {
		counted(t, h.Store(), shadowPair, shadow.Counts{Evaluated: 1}, 0)
		var batch []shadow.Divergence
		for _, group := range []struct {
			kind admission.DivergenceKind
			code string
			n    int
		}{
			{admission.CandidateError, "", 9}, {admission.VerdictChanged, "A", 8}, {admission.AllowToDeny, "A", 7},
			{admission.DenyToAllow, "A", 1}, {admission.DenyToAllow, "B", 4},
		} {
			for range group.n {
				batch = append(batch, divergence(t, shadowPair, group.kind, group.code, len(batch)))
			}
		}
		newest := batch[len(batch)-1]
		require.NoError(t, h.Store().RecordDivergences(t.Context(), batch))
		other := shadow.Pair{Live: "live-1", Candidate: "candidate-2"}
		require.NoError(t, h.Store().RecordDivergences(t.Context(), []shadow.Divergence{divergence(t, other, admission.DenyToAllow, "B", 0)}))

		for examples, want := range map[int]int{0: 0, 2: 2, 100: 4} {
			flips := summary(t, h.Store(), shadowPair, examples).Flips
			var order []string
			for _, flip := range flips {
				order = append(order, fmt.Sprintf("%s %s %d", flip.Kind, flip.Code, flip.Count))
			}
			require.Equal(t, []string{"deny_to_allow B 4", "deny_to_allow A 1", "allow_to_deny A 7", "changed A 8", "error  9"}, order)
			require.Len(t, flips[0].Examples, want)
			require.Equal(t, newest.At, flips[0].Last)
			require.Equal(t, newest.At.Add(-3*time.Second), flips[0].First)
			if want > 0 {
				require.Equal(t, newest.Example(), flips[0].Examples[0])
			}
		}
	},
	"counts add up, and the pair that was compared last is the one that is shown": func(t *testing.T, h Harness) {
		other := shadow.Pair{Live: "live-2", Candidate: "candidate-1"}
		counted(t, h.Store(), shadowPair, shadow.Counts{Evaluated: 5, Diverged: 2, Failed: 1, Dropped: 7}, 1)
		counted(t, h.Store(), other, shadow.Counts{Evaluated: 1}, 2)
		require.Equal(t, other, summary(t, h.Store(), noPair, 1).Pair)
		counted(t, h.Store(), shadowPair, shadow.Counts{Evaluated: 1, Dropped: 1}, 3)
		counted(t, h.Store(), shadowPair, shadow.Counts{Diverged: 1}, 2)

		got := summary(t, h.Store(), noPair, 1)

		require.Equal(t, shadowPair, got.Pair)
		require.Equal(t, shadow.Counts{Evaluated: 6, Diverged: 3, Failed: 1, Dropped: 8}, got.Counts)
		require.Equal(t, time.Date(2026, 5, 1, 12, 0, 3, 0, time.UTC), got.Updated)
	},
	"old divergences are deleted, and all but the newest": func(t *testing.T, h Harness) {
		counted(t, h.Store(), shadowPair, shadow.Counts{Evaluated: 1}, 0)
		var batch []shadow.Divergence
		for second := range 10 {
			batch = append(batch, divergence(t, shadowPair, admission.DenyToAllow, "A", second))
		}
		require.NoError(t, h.Store().RecordDivergences(t.Context(), batch))
		prune := func(before time.Time, keep int) int64 {
			n, err := h.Store().PruneDivergences(t.Context(), before, keep)
			require.NoError(t, err)
			return n
		}
		require.Zero(t, prune(batch[0].At, 10))
		require.EqualValues(t, 3, prune(batch[3].At, 10))
		require.EqualValues(t, 2, prune(batch[0].At, 5))

		flips := summary(t, h.Store(), shadowPair, 100).Flips
		require.EqualValues(t, 5, flips[0].Count)
		require.Equal(t, batch[5].Example(), flips[0].Examples[4])
		require.EqualValues(t, 5, prune(time.Now().AddDate(100, 0, 0), 5))
		require.Empty(t, summary(t, h.Store(), shadowPair, 1).Flips)
	},
	"a dry run's decision is recorded as one": func(t *testing.T, h Harness) {
		id := uuid.New()
		h.PutWorkspace(t, id, platform())
		before := h.Row(t, id)
		d := decision(t, id, denied(modelMissing))
		d.DryRun = true

		recorded, err := h.Store().Record(t.Context(), d)

		require.NoError(t, err)
		requireSame(t, d, recorded)
		require.Equal(t, []uuid.UUID{d.ID}, h.Decisions(t, id))
		requireNoEffects(t, h, id, before)
	},
	"what a rule says is kept beside what enforcement made of it": func(t *testing.T, h Harness) {
		id := uuid.New()
		h.PutWorkspace(t, id, platform())
		audited := deny(modelMissing)
		audited.Enforcement, audited.Declared = admission.Audit, admission.Deny
		d := withUID(decision(t, id, admission.NewVerdict([]admission.Violation{audited}, revision)), "uid-declared", "body")
		mustRecord(t, h.Store(), d)

		recorded, err := h.Store().Recorded(t.Context(), key("uid-declared"))

		require.NoError(t, err)
		requireSame(t, d, recorded)
	},
}

func mustRecord(t testing.TB, s Store, d admission.Decision) {
	t.Helper()
	_, err := s.Record(t.Context(), d)
	require.NoError(t, err)
}
