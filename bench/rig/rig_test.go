//go:build linux

package rig_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/bench/rig"
)

func TestARunThatDidSomethingElseIsRefused(t *testing.T) {
	at := rig.Load{Server: "gatehouse", Connections: 16, Requests: make([][]byte, 64), Each: 1, Denied: rig.DenyShare}
	require.NoError(t, at.Check(800, 100))
	require.NoError(t, at.Check(807, 103))
	require.ErrorContains(t, at.Check(800, 0), "0 of 800 decisions are denies")
	require.Error(t, at.Check(800, 800))
	require.Error(t, at.Check(0, 0))

	at.Requests = make([][]byte, 10_000)
	require.NoError(t, at.Check(800, 0), "it ends in the middle of its only turn")
	at.Turn = 64
	require.Error(t, at.Check(800, 0))
}

func TestEveryReviewHasItsUID(t *testing.T) {
	requests, err := rig.ReviewsOnce(rig.Mixed(), 2*rig.MixedWorkspaces, "run")
	require.NoError(t, err)
	seen := make(map[string]bool)
	for _, request := range requests {
		seen[string(request)] = true
	}
	require.Len(t, seen, 2*rig.MixedWorkspaces)
	require.Contains(t, string(requests[300]), `"uid":"run-300"`)
}

func TestOnlyTheTableOfAPageIsReplaced(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	const before, after = "before\n<!-- make this -->\n", "<!-- end of make this -->\nafter\n"
	require.NoError(t, os.WriteFile(page, []byte(before+"old\n"+after), 0o600))
	require.NoError(t, rig.ReplaceTable(page, "make this", "new\n"))
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Equal(t, before+"new\n"+after, string(text))
	require.Error(t, rig.ReplaceTable(page, "make that", "new\n"))
}

func TestProcessesAreMeasured(t *testing.T) {
	pid := os.Getpid()
	used, err := rig.TreeTime(pid)
	require.NoError(t, err)
	require.GreaterOrEqual(t, used, time.Duration(0))
	memory, err := rig.Resident(pid)
	require.NoError(t, err)
	require.Greater(t, memory, 1.0)
	parent, err := rig.ParentOf(pid)
	require.NoError(t, err)
	require.Equal(t, os.Getppid(), parent)
}

func TestNumbersAreWrittenForPeople(t *testing.T) {
	require.InDelta(t, 1.5, rig.Median([]float64{2, 1}), 0)
	require.InDelta(t, 3, rig.MedianOf([]time.Duration{9, 3, 1}, func(d time.Duration) float64 { return float64(d) }), 0)
	require.Equal(t, "1,234,567", rig.Thousands(1234567))
	require.Equal(t, "12", rig.Thousands(12))
}
