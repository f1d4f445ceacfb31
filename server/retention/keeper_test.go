package retention_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/metrics"
	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/server/ledger"
	"github.com/molecule-ai/gatehouse/server/retention"
)

// pruning is a store that remembers what it was asked, and fails the first few times.
type pruning struct {
	asked    []time.Time
	before   []time.Time
	failures int
	clock    retention.Clock
}

func (p *pruning) PruneClock(context.Context) (retention.Clock, error) { return p.clock, nil }

func (p *pruning) SetPruneClock(_ context.Context, clock retention.Clock) error {
	p.clock = clock
	return nil
}

func (*pruning) Decisions(context.Context, ledger.Query) ([]ledger.Decision, error) {
	return nil, nil
}

func (p *pruning) PruneDecisions(_ context.Context, now, before time.Time) (ledger.Pruned, error) {
	p.asked, p.before = append(p.asked, now), append(p.before, before)
	if len(p.asked) <= p.failures {
		return ledger.Pruned{UIDs: 2}, errors.New("away")
	}
	return ledger.Pruned{Decisions: 3, UIDs: 1, Partitions: []string{"decisions_20260101"}}, nil
}

// keepFor prunes for some time of a bubble's clock.
func keepFor(t *testing.T, store *pruning, keep, life time.Duration) (*prometheus.Registry, string) {
	t.Helper()
	var log bytes.Buffer
	registry := prometheus.NewRegistry()
	k := retention.Keeper{Store: store, Keep: keep, Now: time.Now, Meter: metrics.NewRetention(registry), Log: slog.New(slog.NewTextHandler(&log, nil))}
	ctx, cancel := context.WithTimeout(t.Context(), life)
	defer cancel()
	k.Run(ctx)
	return registry, log.String()
}

func TestKeeperDeletesAtTheStartAndEveryHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, start := &pruning{}, time.Now()

		registry, log := keepFor(t, store, 48*time.Hour, 150*time.Minute)

		require.Equal(t, []time.Time{start, start.Add(time.Hour), start.Add(2 * time.Hour)}, store.asked)
		require.Equal(t, start.Add(-48*time.Hour), store.before[0])
		require.Contains(t, log, "decisions_20260101")
		require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP gatehouse_decisions_pruned_total What was deleted because of its age, by this process: decisions one by one, whole partitions of them, uids of requests.
# TYPE gatehouse_decisions_pruned_total counter
gatehouse_decisions_pruned_total{what="decisions"} 9
gatehouse_decisions_pruned_total{what="partitions"} 3
gatehouse_decisions_pruned_total{what="uids"} 3
`), "gatehouse_decisions_pruned_total"))
	})
}

func TestKeeperTriesAgainSoonWhenPruningFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, start := &pruning{failures: 2}, time.Now()

		registry, log := keepFor(t, store, 48*time.Hour, 10*time.Minute)

		require.Equal(t, []time.Time{start, start.Add(time.Minute), start.Add(2 * time.Minute)}, store.asked)
		require.Equal(t, 2, strings.Count(log, "error=away"))
		require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP gatehouse_decision_prune_runs_total Attempts to delete what is too old and to make room for what is to come, by result (ok, failed).
# TYPE gatehouse_decision_prune_runs_total counter
gatehouse_decision_prune_runs_total{result="failed"} 2
gatehouse_decision_prune_runs_total{result="ok"} 1
`), "gatehouse_decision_prune_runs_total"))
	})
}

func TestKeeperMakesRoomWhereAllDecisionsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &pruning{}

		keepFor(t, store, 0, time.Minute)

		require.Equal(t, []time.Time{{}}, store.before)
	})
}

// A machine whose clock is two months ahead, and a store that was off for as long, look alike at first.
func TestKeeperDeletesNothingByAClockTwoMonthsAhead(t *testing.T) {
	const day = 24 * time.Hour
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "gatehouse.db")})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	require.NoError(t, store.Migrate(t.Context()))
	young := cmdtest.DecisionMade(t, time.Hour)
	_, err = store.Record(t.Context(), young)
	require.NoError(t, err)
	var log bytes.Buffer
	registry := prometheus.NewRegistry()
	meter := metrics.NewRetention(registry)
	requireDoubted := func(value string) {
		t.Helper()
		require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP gatehouse_decision_prune_clock_doubted Whether the clock is so far ahead of when old decisions were last deleted that none are deleted by it: 1 while it is not believed.
# TYPE gatehouse_decision_prune_clock_doubted gauge
gatehouse_decision_prune_clock_doubted `+value+"\n"), "gatehouse_decision_prune_clock_doubted"))
	}
	requireDoubted("0")
	pruneAt := func(ahead time.Duration) {
		t.Helper()
		k := retention.Keeper{
			Store: store, Keep: 30 * day, Now: func() time.Time { return time.Now().Add(ahead) },
			Meter: meter, Log: slog.New(slog.NewTextHandler(&log, nil)),
		}
		require.NoError(t, k.Prune(t.Context()))
	}
	kept := func() bool {
		_, err := store.Decision(t.Context(), young.ID)
		return err == nil
	}

	pruneAt(60 * day) // of a store of before the clock was kept
	require.True(t, kept())
	require.Contains(t, log.String(), "the clock is far ahead of when old decisions were last deleted")
	requireDoubted("1")
	log.Reset()
	pruneAt(0)
	require.Empty(t, log.String())
	requireDoubted("0")

	pruneAt(60 * day)
	_, err = store.Record(t.Context(), cmdtest.DecisionMade(t, -60*day)) // and is not believed for what it records itself
	require.NoError(t, err)
	pruneAt(62 * day)
	require.True(t, kept())
	require.Contains(t, log.String(), "the clock is far ahead")
	requireDoubted("1")

	pruneAt(63*day + time.Hour) // after a long pause it goes on like this
	require.False(t, kept())
}
