package storetest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/ledger"
	"github.com/molecule-ai/gatehouse/server/retention"
)

const day = 24 * time.Hour

var retentionTests = map[string]func(*testing.T, Harness){
	"old decisions go with their uids, and the others stay with theirs": func(t *testing.T, h Harness) {
		now := time.Now().UTC().Truncate(time.Microsecond)
		var kept []uuid.UUID
		for _, age := range []time.Duration{40 * day, 32 * day, 29 * day, time.Hour} {
			uid := fmt.Sprintf("uid-%s", age)
			d := at(t, withUID(decision(t, uuid.New(), allowed()), uid, "body"), now.Add(-age))
			fails := at(t, failed(t, uid), now.Add(-age))
			mustRecord(t, h.Store(), d)
			mustRecord(t, h.Store(), fails)
			if age < 30*day {
				kept = append(kept, d.ID, fails.ID)
			}
		}

		pruned := prune(t, h.Store(), now, now.Add(-30*day))

		require.ElementsMatch(t, kept, ids(list(t, h.Store(), ledger.Filter{}, true, 10)))
		require.EqualValues(t, 2, pruned.UIDs)
		if len(pruned.Partitions) == 0 {
			require.EqualValues(t, 4, pruned.Decisions)
		}
		for _, age := range []time.Duration{29 * day, time.Hour} {
			again, err := h.Store().Recorded(t.Context(), key(fmt.Sprintf("uid-%s", age)))
			require.NoError(t, err)
			require.Contains(t, kept, again.ID)
		}
		require.Zero(t, prune(t, h.Store(), now, now.Add(-30*day)).UIDs)
	},
	"a request of which nothing is kept is decided when it comes again": func(t *testing.T, h Harness) {
		now := time.Now().UTC().Truncate(time.Microsecond)
		mustRecord(t, h.Store(), at(t, withUID(decision(t, uuid.New(), allowed()), "uid-1", "body"), now.Add(-40*day)))
		prune(t, h.Store(), now, now.Add(-30*day))
		_, err := h.Store().Recorded(t.Context(), key("uid-1"))
		require.ErrorIs(t, err, admission.ErrNotRecorded)
		d := withUID(decision(t, uuid.New(), allowed()), "uid-1", "another body")

		recorded, err := h.Store().Record(t.Context(), d)

		require.NoError(t, err)
		require.Equal(t, d.ID, recorded.ID)
	},
	"the uid of one caller goes, and the same of another stays": func(t *testing.T, h Harness) {
		now := time.Now().UTC().Truncate(time.Microsecond)
		old := at(t, withUID(of("old", decision(t, uuid.New(), allowed())), "1", "body"), now.Add(-40*day))
		recent := at(t, withUID(of("recent", decision(t, uuid.New(), allowed())), "1", "body"), now.Add(-time.Hour))
		mustRecord(t, h.Store(), recent)
		mustRecord(t, h.Store(), old)

		require.EqualValues(t, 1, prune(t, h.Store(), now, now.Add(-30*day)).UIDs)

		_, err := h.Store().Recorded(t.Context(), old.RequestKey())
		require.ErrorIs(t, err, admission.ErrNotRecorded)
		recorded, err := h.Store().Recorded(t.Context(), recent.RequestKey())
		require.NoError(t, err)
		requireSame(t, recent, recorded)
	},
	"the ledger of events outlives the decisions": func(t *testing.T, h Harness) {
		now := time.Now().UTC().Truncate(time.Microsecond)
		id := uuid.New()
		h.PutWorkspace(t, id, platform())
		marked := mustRegister(t, h.Store(), at(t, decision(t, id, allowed()), now.Add(-40*day)))
		require.True(t, marked.MarkedFailed)

		prune(t, h.Store(), now, now.Add(-30*day))

		_, err := h.Store().Decision(t.Context(), marked.ID)
		require.ErrorIs(t, err, ledger.ErrNoDecision)
		requireEvents(t, h, id, 1)
	},
	"the beginning of time prunes nothing": func(t *testing.T, h Harness) {
		now := time.Now().UTC().Truncate(time.Microsecond)
		mustRecord(t, h.Store(), at(t, withUID(decision(t, uuid.New(), allowed()), "uid-1", "body"), now.Add(-4000*day)))

		require.Equal(t, ledger.Pruned{}, prune(t, h.Store(), now, time.Time{}))

		_, err := h.Store().Recorded(t.Context(), key("uid-1"))
		require.NoError(t, err)
	},
	"replicas that prune at once delete everything once": func(t *testing.T, h Harness) {
		now := time.Now().UTC().Truncate(time.Microsecond)
		const n = 50
		for i := range n {
			mustRecord(t, h.Store(), at(t, withUID(decision(t, uuid.New(), allowed()), fmt.Sprintf("uid-%d", i), "body"), now.Add(-40*day)))
		}
		stores := []Store{h.Store(), h.AnotherStore(t)}
		var mu sync.Mutex
		var uids int64
		var pruning sync.WaitGroup
		for i := range 8 {
			pruning.Go(func() {
				pruned, err := stores[i%2].PruneDecisions(t.Context(), now, now.Add(-30*day))
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				uids += pruned.UIDs
				mu.Unlock()
			})
		}
		pruning.Wait()

		require.EqualValues(t, n, uids)
		require.Empty(t, list(t, h.Store(), ledger.Filter{}, true, 10))
	},
	"the clock of pruning is kept, for every process": func(t *testing.T, h Harness) {
		s := h.Store()
		first, err := s.PruneClock(t.Context())
		require.NoError(t, err)
		require.Zero(t, first)
		at := time.Date(2026, 11, 30, 12, 0, 0, 5000, time.UTC)
		for _, clock := range []retention.Clock{{Trusted: at, Doubted: at.Add(60 * 24 * time.Hour)}, {Trusted: at.Add(time.Hour)}} {
			require.NoError(t, s.SetPruneClock(t.Context(), clock))
			kept, err := h.AnotherStore(t).PruneClock(t.Context())
			require.NoError(t, err)
			require.True(t, clock.Trusted.Equal(kept.Trusted))
			require.True(t, clock.Doubted.Equal(kept.Doubted))
		}
	},
}

func prune(t testing.TB, s Store, now, before time.Time) ledger.Pruned {
	t.Helper()
	pruned, err := s.PruneDecisions(t.Context(), now, before)
	require.NoError(t, err)
	return pruned
}

var exclusiveTests = map[string]func(*testing.T, Harness){
	"of two processes one has the right, until it gives it back": func(t *testing.T, h Harness) {
		one, other := h.Store(), h.AnotherStore(t)
		release, lost, held := exclusive(t, one, "audit")
		require.True(t, held)
		for _, s := range []Store{one, other} {
			_, _, held = exclusive(t, s, "audit")
			require.False(t, held)
		}
		select {
		case <-lost:
			t.Error("the right was lost, yet nobody took it")
		default:
		}

		release()
		release, _, held = exclusive(t, other, "audit")

		require.True(t, held)
		release()
	},
	"rights of other names are others": func(t *testing.T, h Harness) {
		for _, name := range []string{"audit", "upload", ""} {
			release, _, held := exclusive(t, h.Store(), name)
			require.True(t, held)
			defer release()
		}
	},
	"of many that ask at once one gets it": func(t *testing.T, h Harness) {
		other := h.AnotherStore(t)
		var mu sync.Mutex
		var releases []func()
		var asking sync.WaitGroup
		for i := range 10 {
			asking.Go(func() {
				s := h.Store()
				if i%2 == 0 {
					s = other
				}
				release, _, held, err := s.Exclusive(t.Context(), "audit")
				if err != nil {
					t.Error(err)
				}
				if held {
					mu.Lock()
					releases = append(releases, release)
					mu.Unlock()
				}
			})
		}
		asking.Wait()

		require.Len(t, releases, 1)
		releases[0]()
		releases[0]() // once more changes nothing
	},
}

func exclusive(t testing.TB, s Store, name string) (release func(), lost <-chan struct{}, held bool) {
	t.Helper()
	release, lost, held, err := s.Exclusive(t.Context(), name)
	require.NoError(t, err)
	return release, lost, held
}
