package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/sqlite"
)

// waitLogged waits until the program has logged something.
func (p *program) waitLogged(text string) {
	p.t.Helper()
	require.Eventually(p.t, func() bool { return strings.Contains(p.logged(), text) }, patience, tick, "%s is not logged", text)
}

func (p *program) tell(signal syscall.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.command.Process.Signal(signal))
}

func TestSIGTERMIsSeenAsNotReadyWhileReviewsAreAnsweredAndASecondEndsIt(t *testing.T) {
	gate := start(t, "--demo", "--shutdown-delay", "1h").waitReady()
	gate.tell(syscall.SIGTERM)

	require.Eventually(t, func() bool {
		status, text := gate.get("/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(text, "shutting down")
	}, patience, tick)
	gate.waitLogged(`"msg":"stopping: not ready any more, and answering for a while"`)
	status, _ := gate.get("/healthz")
	require.Equal(t, http.StatusOK, status)
	require.True(t, *gate.review("register", demoReview(1)).Allowed, "on a new connection too")
	gate.client.CloseIdleConnections()
	require.False(t, *gate.review("register", demoReview(2)).Allowed)

	gate.tell(syscall.SIGTERM)
	require.ErrorContains(t, gate.wait(), "signal: terminated")
	require.NotContains(t, gate.logged(), `"msg":"stopped"`)
}

func TestShutdownDelayEnds(t *testing.T) {
	gate := start(t, "--demo", "--shutdown-delay", "50ms").waitReady()
	gate.tell(syscall.SIGTERM)
	require.NoError(t, gate.wait(), gate.logged())
	require.Contains(t, gate.logged(), `"msg":"stopping: not ready any more, and answering for a while"`)
	require.Contains(t, gate.logged(), `"msg":"stopped"`)
}

func TestStopFromAKeyboardDoesNotWait(t *testing.T) {
	gate := start(t, "--demo", "--shutdown-delay", "1h").waitReady()
	gate.tell(syscall.SIGINT)
	require.NoError(t, gate.wait(), gate.logged())
	require.Contains(t, gate.logged(), `"msg":"stopped"`)
}

// What each of these waits for takes a minute or for ever.
func TestStopWhileItLoadsIsHeard(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and answers nothing
	require.NoError(t, err)
	defer func() { require.NoError(t, silent.Close()) }()
	stuck := make(chan struct{})
	bundles := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-stuck:
		}
	}))
	defer bundles.Close()
	defer close(stuck)

	path := filepath.Join(t.TempDir(), "gatehouse.db")
	locked, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
	require.NoError(t, err)
	defer func() { require.NoError(t, locked.Close()) }()
	tx, err := locked.Writer().BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, tx.Rollback()) }()

	for name, args := range map[string][]string{
		"a database that is silent":      {"--database-url", "postgres://gatehouse@" + silent.Addr().String() + "/registry?connect_timeout=60"},
		"a bundle server that is silent": {"--policies", bundles.URL + "/policies.tar.gz"},
		"a file that is locked":          {"--database-url", "sqlite:" + path},
	} {
		t.Run(name, func(t *testing.T) {
			gate := launch(t, append(args, "--shutdown-delay", "1h")...)
			gate.waitLogged("callers are not authenticated")
			gate.tell(syscall.SIGTERM)
			require.NoError(t, gate.wait(), gate.logged())
			require.NotContains(t, gate.logged(), "refused")
		})
	}
}
