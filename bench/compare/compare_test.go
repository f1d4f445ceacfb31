//go:build linux

package compare

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/bench/rig"
	"github.com/molecule-ai/gatehouse/policies"
	"github.com/molecule-ai/gatehouse/server/admission"
)

func policySnapshot(t *testing.T) *snapshot.Snapshot {
	t.Helper()
	schema, err := fs.ReadFile(policies.FS, "input.schema.json")
	require.NoError(t, err)
	snapshot, err := snapshot.New(t.Context(), snapshot.Directory("../policy"), schema)
	require.NoError(t, err)
	require.Len(t, snapshot.Rules(), 6)
	return snapshot
}

func inputOf(t *testing.T, w rig.Workspace) admission.Input {
	t.Helper()
	body := whatIf(w)
	body["hook"] = "register"
	text, err := json.Marshal(body)
	require.NoError(t, err)
	asked, _, err := admission.DecodeWhatIf(text, admission.DefaultMaxDepth)
	require.NoError(t, err)
	return admission.NewInput(asked.Review, *asked.Facts, admission.Deployment{})
}

func TestBothServersAreGivenTheSameInput(t *testing.T) {
	for _, w := range append(rig.Mixed(), rig.Failing(1)...) {
		w.Secrets = append([]string{}, w.Secrets...) // facts have no null
		ours, err := inputOf(t, w).JSON()
		require.NoError(t, err)
		theirs, err := json.Marshal(opaInput(w))
		require.NoError(t, err)
		require.JSONEq(t, string(ours), string(theirs))
	}
}

func TestTheWorkspacesAreDeniedAsTheRowsCount(t *testing.T) {
	snapshot := policySnapshot(t)
	denied := int64(0)
	for _, w := range rig.Mixed() {
		verdict, err := snapshot.Evaluate(t.Context(), inputOf(t, w), time.Now())
		require.NoError(t, err)
		require.Nil(t, verdict.Marking())
		if !verdict.Allowed() {
			denied++
		}
	}
	require.Equal(t, rig.DenyShare(rig.MixedWorkspaces), denied)
	for _, w := range rig.Failing(3) {
		verdict, err := snapshot.Evaluate(t.Context(), inputOf(t, w), time.Now())
		require.NoError(t, err)
		require.NotNil(t, verdict.Marking())
	}
	for _, w := range rig.Spread(3, 30) {
		verdict, err := snapshot.Evaluate(t.Context(), inputOf(t, w), time.Now())
		require.NoError(t, err)
		require.True(t, verdict.Allowed())
	}
}

func TestOutputOfGoTestIsRead(t *testing.T) {
	found, err := readBenchmarks(`goos: linux
BenchmarkRules/rules=10/deny-2   100   1500 ns/op   226 B/op   2 allocs/op
BenchmarkRules/rules=10/deny-2   100   2500 ns/op   226 B/op   4 allocs/op
BenchmarkRules/rules=10/deny-2   100   9500 ns/op   226 B/op   4 allocs/op
BenchmarkRules/rules=100/deny-2  100   3000 ns/op   226 B/op   5 allocs/op
PASS
`)
	require.NoError(t, err)
	require.Equal(t, []goBenchmark{{"Rules/rules=10/deny", 2.5, 4}, {"Rules/rules=100/deny", 3, 5}}, found)
	_, err = readBenchmarks("BenchmarkX-2 1 fast ns/op 1 B/op 1 allocs/op")
	require.Error(t, err)
}

func TestRatiosAreOfTheSameRound(t *testing.T) {
	ours := []sample{{PerSecond: 20}, {PerSecond: 2}, {PerSecond: 9}}
	theirs := []sample{{PerSecond: 10}, {PerSecond: 1}, {PerSecond: 3}}
	require.InDelta(t, 2, paired(ours, theirs, func(s sample) float64 { return s.PerSecond }), 0)
}

func TestThroughputFallsOnlyFromItsBest(t *testing.T) {
	at := func(rates ...float64) []scaled {
		var all []scaled
		for i, rate := range rates {
			all = append(all, scaled{at: connectionCounts[i], samples: []sample{{PerSecond: rate}}})
		}
		return all
	}
	text, least := keepsUp(at(1000, 4000, 5000, 4500, 4750))
	require.InDelta(t, 0.9, least, 0)
	require.Equal(t, "1,000/s at 1, 4,000/s at 4, 5,000/s at 16, 4,500/s at 64, 4,750/s at 256: 90 %", text)
	_, least = keepsUp(at(1000, 2000, 3000))
	require.InDelta(t, 1, least, 0)
}

func TestBatchesAskForEveryWorkspaceEquallyOften(t *testing.T) {
	some := rig.Mixed()
	bodies, err := evaluationBatches(some, batchSize)
	require.NoError(t, err)
	require.Len(t, bodies, 64, "25 turns of 256 in batches of 100")
	alone, err := evaluations(some)
	require.NoError(t, err)
	for i, w := range []rig.Workspace{some[0], some[255]} {
		asked := 0
		for _, body := range bodies {
			asked += bytes.Count(body, []byte(w.ID.String()))
		}
		require.Equal(t, 25*bytes.Count(alone[i*255], []byte(w.ID.String())), asked)
	}
}

func TestAGoalIsReachedByAllThatItSays(t *testing.T) {
	opa := []sample{{PerSecond: 100, P99: 10}, {PerSecond: 200, P99: 20}}
	ours := []sample{{PerSecond: 250, P99: 5}, {PerSecond: 500, P99: 10}}
	require.True(t, goal{faster: 2.5, p99: 0.5, perSecond: 375}.reachedBy(ours, opa))
	require.True(t, goal{}.reachedBy(ours, opa))
	for _, missed := range []goal{{faster: 2.6}, {p99: 0.49}, {perSecond: 376}} {
		require.False(t, missed.reachedBy(ours, opa))
	}
}
