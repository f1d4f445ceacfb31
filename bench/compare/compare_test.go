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
	"github.com/molecule-ai/gatehouse/server/admission/decode"
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
	asked, err := decode.WhatIf(text, decode.DefaultMaxDepth)
	require.NoError(t, err)
	return admission.NewInput(asked.Review, *asked.Facts, admission.Deployment{})
}

func TestOPAIsGivenTheInputThatGatehouseMakes(t *testing.T) {
	for _, w := range append(rig.Mixed(), rig.Failing(1)...) {
		w.Secrets = append([]string{}, w.Secrets...) // facts have no null
		ours, err := inputOf(t, w).JSON()
		require.NoError(t, err)
		theirs, err := json.Marshal(opaInput(w))
		require.NoError(t, err)
		require.JSONEq(t, string(ours), string(theirs))
	}
}

func TestWorkspacesAreDeniedAsTheLoadExpects(t *testing.T) {
	snapshot := policySnapshot(t)
	denied := 0
	for _, w := range rig.Mixed() {
		verdict, err := snapshot.Evaluate(t.Context(), inputOf(t, w), time.Now())
		require.NoError(t, err)
		require.Nil(t, verdict.Marking())
		if !verdict.Allowed() {
			denied++
		}
	}
	require.Equal(t, rig.MixedWorkspaces/rig.DenyEvery, denied)
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

func TestReadBenchmarksTakesMedians(t *testing.T) {
	found := readBenchmarks(`goos: linux
BenchmarkRules/rules=10/deny-2   100   1500 ns/op   226 B/op   2 allocs/op
BenchmarkRules/rules=10/deny-2   100   2500 ns/op   226 B/op   4 allocs/op
BenchmarkRules/rules=10/deny-2   100   9500 ns/op   226 B/op   4 allocs/op
BenchmarkRules/rules=100/deny-2  100   3000 ns/op   226 B/op   5 allocs/op
PASS
`)
	require.Equal(t, []goBenchmark{{"rules=10/deny", 2.5, 4}, {"rules=100/deny", 3, 5}}, found)
}

func TestBatchesAskForEveryWorkspaceEquallyOften(t *testing.T) {
	some := rig.Mixed()
	bodies := evaluationBatches(some, batchSize)
	require.Len(t, bodies, 64, "25 turns of 256 in batches of 100")
	text, err := json.Marshal(bodies)
	require.NoError(t, err)
	for _, w := range []rig.Workspace{some[0], some[255]} {
		alone, err := json.Marshal(evaluation(w))
		require.NoError(t, err)
		require.Equal(t, 25*bytes.Count(alone, []byte(w.ID.String())), bytes.Count(text, []byte(w.ID.String())))
	}
}

func withRates(row, name string, connections int, rates ...float64) *rig.Subject {
	s := &rig.Subject{Row: row, Name: name, Load: rig.Load{Connections: connections}}
	for _, rate := range rates {
		s.Samples = append(s.Samples, rig.Sample{Result: rig.Result{PerSecond: rate, Mean: time.Millisecond, P99: time.Duration(rate)}})
	}
	return s
}

func TestAGoalIsReachedByAllThatItSays(t *testing.T) {
	opa, ours := withRates("", opaName, usual, 100, 200), withRates("B", "", usual, 250, 500)
	require.True(t, goal{faster: 2.5, p99: 2.5, perSecond: 375}.reachedBy(ours, opa))
	require.True(t, goal{}.reachedBy(ours, opa))
	for _, missed := range []goal{{faster: 2.6}, {p99: 2.4}, {perSecond: 376}} {
		require.False(t, missed.reachedBy(ours, opa))
	}
}

func TestKeepsUpTakesTheFallFromTheBest(t *testing.T) {
	at := func(rates ...float64) *measurement {
		var m measurement
		for i, rate := range rates {
			m.subjects = append(m.subjects, withRates("B", "", connectionCounts()[i], rate))
		}
		return &m
	}
	require.InDelta(t, 0.9, at(1000, 5000, 4500, 4750).keepsUp("B"), 0)
	require.InDelta(t, 1, at(1000, 2000, 3000, 3000).keepsUp("B"), 0)
}

// Every table has each of its lines, and no cell that is no number.
func TestPageHasEveryRow(t *testing.T) {
	var m measurement
	for _, s := range []*rig.Subject{
		withRates("", opaName, 0, 100), withRates("", doItYourselfName, 0, 20), withRates("", hardCodedName, 0, 80),
		withRates("B", "on Postgres", 0, 50), withRates("C", "on SQLite", 0, 60), withRates("D", "denies", 0, 10),
	} {
		for _, connections := range connectionCounts() {
			with := *s
			with.Connections = connections
			m.subjects = append(m.subjects, &with)
		}
	}
	m.subjects = append(m.subjects, withRates("A", "decision only", usual, 300))
	m.policies = []goBenchmark{{"hook=register/deny", 12, 90}}
	m.rules = []goBenchmark{{"rules=10/deny", 2, 3}, {"rules=1000/deny", 3, 3}}
	m.workspaces = []*rig.Subject{withRates("", "few", usual, 10), withRates("", "many", usual, 5)}
	m.starts = []float64{50}
	var page rig.Page
	m.write(&page)
	text := page.String()
	require.Contains(t, text, "| B | 16 | 50 | 0.00 ms | 2.50 | 2.50 | 0.62 | 0.62 | 0.50 | 0.50 |")
	require.Contains(t, text, "| 256 | 100/s, 0.00 ms | 20/s, 0.00 ms | 80/s, 0.00 ms | 50/s, 0.00 ms | 60/s, 0.00 ms | 10/s, 0.00 ms |")
	require.Contains(t, text, "10/s, then 5/s: 50 % | flat | **missed** |")
	for _, wrong := range []string{"NaN", "Inf", "%!"} {
		require.NotContains(t, text, wrong)
	}
}
