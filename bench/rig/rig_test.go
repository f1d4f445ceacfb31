package rig

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLoadRefusesARunThatDidSomethingElse(t *testing.T) {
	said := func(answers, errors, counted int) []byte {
		return fmt.Appendf(nil, `{"answers": %d, "errors": %d, "counted": %d, "took": 2000000, "mean": 3, "p50": 2, "p99": 9}`, answers, errors, counted)
	}
	mixed := Load{Connections: 16, Each: 1}
	result, err := mixed.read(said(8000, 0, 1000), "")
	require.NoError(t, err)
	require.Equal(t, Result{Decisions: 8000, PerSecond: 4000, Mean: 3000, P50: 2000, P99: 9000}, result)
	for _, refused := range [][]byte{said(0, 0, 0), said(8000, 1, 1000), said(8000, 0, 0), said(8000, 0, 8000), []byte("{")} {
		_, err := mixed.read(refused, "503 too much")
		require.Error(t, err)
	}
	batches := Load{Connections: 16, Each: 100}
	result, err = batches.read(said(8000, 0, 100_000), "")
	require.NoError(t, err)
	require.EqualValues(t, 800_000, result.Decisions)
	_, err = Load{Each: 1, AllDenied: true}.read(said(8000, 0, 1000), "")
	require.Error(t, err)
	_, err = Load{Each: 1, NoneDenied: true}.read(said(8000, 0, 1), "")
	require.Error(t, err)
}

// wrk sends every body in turn, counts what it should, and tells the first answer that is an error.
func TestWrkSendsInTurnAndCounts(t *testing.T) {
	r, err := New(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	var mutex sync.Mutex
	seen := make(map[float64]int)
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ N float64 }
		_ = json.NewDecoder(r.Body).Decode(&body)
		mutex.Lock()
		defer mutex.Unlock()
		seen[body.N]++
		w.WriteHeader(status)
		if body.N == 0 {
			_, _ = w.Write([]byte(`{"denied":1}`))
		}
	}))
	defer server.Close()
	bodies := make([]any, DenyEvery)
	for i := range bodies {
		bodies[i] = map[string]int{"n": i}
	}
	file, err := r.WriteRequests("some", bodies)
	require.NoError(t, err)
	l := Load{Path: "/", Requests: file, Connections: 2, Each: 1, Denied: `"denied":1`}
	result, err := r.send(t.Context(), server.Listener.Addr().String(), l, 1)
	require.NoError(t, err)
	require.Len(t, seen, DenyEvery)
	require.InDelta(t, seen[0], seen[7], 3)
	require.Positive(t, result.P99)
	require.GreaterOrEqual(t, result.P99, result.P50)

	mutex.Lock()
	status = http.StatusServiceUnavailable
	mutex.Unlock()
	_, err = r.send(t.Context(), server.Listener.Addr().String(), l, 1)
	require.ErrorContains(t, err, "503 ")
}

func TestMedianIsTheMiddle(t *testing.T) {
	require.InDelta(t, 1.5, Median([]float64{2, 1}), 0)
	require.InDelta(t, 3, Median([]float64{9, 3, 1}), 0)
}

func TestThousandsHasCommas(t *testing.T) {
	require.Equal(t, "1,234,567", Thousands(1234567))
	require.Equal(t, "12", Thousands(12))
}

func TestAgainstTakesTheRatioOfTheSameRound(t *testing.T) {
	rates := func(all ...float64) *Subject {
		var s Subject
		for _, one := range all {
			s.Samples = append(s.Samples, Sample{Result: Result{PerSecond: one}})
		}
		return &s
	}
	require.InDelta(t, 2, rates(20, 2, 9).Against(rates(10, 1, 3), Rate), 0)
}

func TestCountersGiveWhatADecisionTook(t *testing.T) {
	before := counters{server: time.Second, proxy: time.Second, database: 2 * time.Second, commits: 700, wal: 1000, series: map[string]float64{"trips": 10}}
	after := counters{server: 2 * time.Second, proxy: 1100 * time.Millisecond, database: 4 * time.Second, commits: 825, wal: 1_001_000, series: map[string]float64{"trips": 260}}
	require.Equal(t, Sample{
		Result: Result{Decisions: 1000}, Server: time.Millisecond, Proxy: 100 * time.Microsecond, Database: 2 * time.Millisecond,
		Commits: 0.125, WAL: 1000, Series: map[string]float64{"trips": 250},
	}, before.until(after, Result{Decisions: 1000}))
}

func TestTreeTimeCountsThisProcess(t *testing.T) {
	for began := time.Now(); time.Since(began) < 3*tick; { // uses the processor
		continue
	}
	used, err := treeTime(os.Getpid())
	require.NoError(t, err)
	require.Positive(t, used)
}

func TestPublishReplacesOnlyTheTable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.md")
	const before, after = "before\n<!-- make this -->\n", "<!-- end of make this -->\nafter\n"
	require.NoError(t, os.WriteFile(file, []byte(before+"old\n"+after), 0o600))
	var page Page
	page.Table("a", "b")
	page.Row("1", "2")
	require.NoError(t, page.Publish(file, "make this"))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, before+"\n| a | b |\n|---|---|\n| 1 | 2 |\n"+after, string(text))
	require.Error(t, page.Publish(file, "make that"))
}
