package operate_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/operate"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/programtest"
)

func benched(t *testing.T, args ...string) (operate.BenchReport, programtest.Said) {
	t.Helper()
	got := programtest.Command(t, "", append([]string{"bench", "--output", "json"}, args...)...)
	var report operate.BenchReport
	if got.Out != "" {
		require.NoError(t, json.Unmarshal([]byte(got.Out), &report), got.Out)
	}
	return report, got
}

const demoCases = `title: Demo workspaces
cases:
  - {name: allowed, review: {workspace: {id: 00000000-0000-4000-8000-000000000001, url: "https://a.example.com"}}, expect: {allowed: true}}
  - {name: denied, review: {workspace: {id: 00000000-0000-4000-8000-000000000002, url: "https://a.example.com"}}, expect: {allowed: false}}
  - {name: beat, review: {hook: heartbeat, workspace: {id: 00000000-0000-4000-8000-000000000001, from_status: offline, to_status: online}}, expect: {allowed: true}}
`

func TestBenchSendsAtARateAndLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	database := "sqlite:" + filepath.Join(t.TempDir(), "gatehouse.db")
	s := programtest.Serve(t, "--demo", "--database-url", database, "--registry-token", "a-token-of-the-registry")
	report, got := benched(t, "--url", s.URL, "--token", "a-token-of-the-registry", "--cases", cmdtest.File(t, "demo.yaml", demoCases),
		"--hook", "register", "--rate", "200", "--duration", "200ms", "--connections", "4")
	require.Zero(t, got.Code, got.Err)
	require.Empty(t, got.Err, "no bar where there is no terminal")
	require.EqualValues(t, 40, report.Sent)
	require.EqualValues(t, 20, report.Allowed)
	require.Equal(t, map[string]int64{cmdtest.IdentityGateCode: 20}, report.DeniedBy)
	require.InDelta(t, 0.5, report.DenyShare, 0)
	require.Zero(t, report.Failed)
	require.True(t, report.DryRun)
	require.Positive(t, report.Latency.P50)
	require.GreaterOrEqual(t, report.Latency.Max, report.Latency.P99)

	require.Zero(t, s.Stop())
	listed := programtest.Command(t, "", "decisions", "list", "--database-url", database, "--output", "json")
	require.Contains(t, listed.Out, `"decisions": []`)
}

func TestBenchEnforcesOnlyWhenItIsToldToAndSaysSo(t *testing.T) {
	t.Parallel()
	database := "sqlite:" + filepath.Join(t.TempDir(), "gatehouse.db")
	s := programtest.Serve(t, "--demo", "--database-url", database)
	args := []string{"--url", s.URL, "--rate", "100", "--duration", "100ms"}
	report, got := benched(t, append(args, "--enforce", "--cases", cmdtest.File(t, "demo.yaml", demoCases))...)
	require.Zero(t, got.Code, got.Err)
	require.Contains(t, got.Err, "ENFORCING")
	require.False(t, report.DryRun)
	require.EqualValues(t, 10, report.Sent)

	// What has just been recorded can be asked again.
	again, got := benched(t, append(args, "--decisions", "--database-url", database)...)
	require.Zero(t, got.Code, got.Err)
	require.Equal(t, report.Denied, again.Denied)
	require.True(t, again.DryRun)
	require.Zero(t, s.Stop())
	listed := programtest.Command(t, "", "decisions", "list", "--database-url", database, "--output", "json")
	require.Equal(t, 10, strings.Count(listed.Out, `"hook": `))
}

// A server that stalls is charged with what would have been asked meanwhile.
func TestBenchCountsLatencyFromWhenARequestWasDue(t *testing.T) {
	t.Parallel()
	const stall = 200 * time.Millisecond
	first := true
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && first { // there is one connection
			first = false
			time.Sleep(stall) // what is measured, and not what is waited for
		}
		_, _ = w.Write([]byte(`{"allowed": true}`))
	}))
	defer slow.Close()
	report, got := benched(t, "--url", slow.URL, "--cases", cmdtest.File(t, "demo.yaml", demoCases),
		"--rate", "1000", "--duration", "100ms", "--connections", "1")
	require.Zero(t, got.Code, got.Err)
	require.EqualValues(t, 100, report.Sent)
	require.Greater(t, report.Latency.P50, float64(stall.Milliseconds())/2-1, "half of the requests were due while it stalled")
}

func TestBenchTellsErrorsByTheirCode(t *testing.T) {
	t.Parallel()
	s := programtest.Serve(t, "--registry-token", "a-token-of-the-registry", "--database-url", "sqlite:"+filepath.Join(t.TempDir(), "gatehouse.db"))
	report, got := benched(t, "--url", s.URL, "--cases", cmdtest.File(t, "demo.yaml", demoCases), "--rate", "0", "--duration", "20ms")
	require.Equal(t, cli.ExitFailed, got.Code)
	require.Contains(t, got.Err, "no request was decided")
	require.Equal(t, report.Sent, report.Errors["unauthenticated"])

	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodGet:
		case strings.HasSuffix(r.URL.Path, "/heartbeat"):
			w.WriteHeader(http.StatusBadGateway)
		case strings.Contains(r.Header.Get("Content-Type"), "json"):
			panic(http.ErrAbortHandler)
		}
	}))
	defer broken.Close()
	report, _ = benched(t, "--url", broken.URL, "--cases", cmdtest.File(t, "demo.yaml", demoCases), "--rate", "100", "--duration", "90ms")
	require.Equal(t, map[string]int64{"connection": 6, "http_502": 3}, report.Errors)
}

func TestBenchDrawsAHistogram(t *testing.T) {
	t.Parallel()
	s := programtest.Serve(t, "--demo", "--database-url", "sqlite:"+filepath.Join(t.TempDir(), "gatehouse.db"))
	folder := filepath.Dir(cmdtest.File(t, "demo.yaml", demoCases))
	got := programtest.Command(t, "", "bench", "--url", s.URL, "--cases", folder, "--rate", "300", "--duration", "100ms")
	require.Zero(t, got.Code, got.Err)
	require.Contains(t, got.Out, "dry run: 30 requests")
	require.Contains(t, got.Out, "allowed 20, denied 10 (33.3 %), errors 0")
	require.Regexp(t, `up to +\d+\.\d{3} ms #+ +\d+\n`, got.Out)
}

func TestBenchRefusesWhatItCannotDo(t *testing.T) {
	t.Parallel()
	cases := cmdtest.File(t, "demo.yaml", demoCases)
	for want, args := range map[string]string{
		"missing flags: --url":      "--cases " + cases,
		"--url is not like":         "--url localhost --cases " + cases,
		"either --cases or":         "--url http://127.0.0.1:1",
		"--cases or --decisions":    "--url http://127.0.0.1:1 --decisions --cases " + cases,
		"nothing to ask":            "--url http://127.0.0.1:1 --hook nope --cases " + cases,
		"--connections must be":     "--url http://127.0.0.1:1 --connections 0 --cases " + cases,
		"connection refused":        "--url http://127.0.0.1:1 --cases " + cases,
		"--limit is a number from":  "--url http://127.0.0.1:1 --limit 1001 --decisions",
		"no such file or directory": "--url http://127.0.0.1:1 --decisions --database-url sqlite:/nonexistent/file.db",
	} {
		got := programtest.Command(t, "", append([]string{"bench"}, strings.Fields(args)...)...)
		require.NotZero(t, got.Code, args)
		require.Contains(t, got.Err, want, args)
	}
}
