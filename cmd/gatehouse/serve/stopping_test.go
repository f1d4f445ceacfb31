package serve_test

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
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
)

func TestSIGTERMIsSeenAsNotReadyWhileReviewsAreAnsweredAndASecondEndsIt(t *testing.T) {
	t.Parallel()
	gate := cmdtest.Start(t, "--demo", "--shutdown-delay", "1h").WaitReady()
	gate.Tell(syscall.SIGTERM)

	require.Eventually(t, func() bool {
		status, text := gate.Get("/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(text, "shutting down")
	}, cmdtest.Patience, cmdtest.Tick)
	gate.WaitLogged(`"msg":"stopping: not ready any more, and answering for a while"`)
	status, _ := gate.Get("/healthz")
	require.Equal(t, http.StatusOK, status)
	require.True(t, *gate.Review("register", cmdtest.DemoReview(1)).Allowed, "on a new connection too")
	gate.Client.CloseIdleConnections()
	require.False(t, *gate.Review("register", cmdtest.DemoReview(2)).Allowed)

	gate.Tell(syscall.SIGTERM)
	require.ErrorContains(t, gate.Wait(), "signal: terminated")
	require.NotContains(t, gate.Logged(), `"msg":"stopped"`)
}

func TestShutdownDelayEnds(t *testing.T) {
	t.Parallel()
	gate := cmdtest.Start(t, "--demo", "--shutdown-delay", "50ms").WaitReady()
	gate.Tell(syscall.SIGTERM)
	require.NoError(t, gate.Wait(), gate.Logged())
	require.Contains(t, gate.Logged(), `"msg":"stopping: not ready any more, and answering for a while"`)
	require.Contains(t, gate.Logged(), `"msg":"stopped"`)
}

func TestStopFromAKeyboardDoesNotWait(t *testing.T) {
	t.Parallel()
	gate := cmdtest.Start(t, "--demo", "--shutdown-delay", "1h").WaitReady()
	gate.Tell(syscall.SIGINT)
	require.NoError(t, gate.Wait(), gate.Logged())
	require.Contains(t, gate.Logged(), `"msg":"stopped"`)
}

// What each of these waits for takes a minute or for ever.
func TestStopWhileItLoadsIsHeard(t *testing.T) {
	t.Parallel()
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
			gate := cmdtest.Launch(t, append(args, "--shutdown-delay", "1h")...)
			gate.WaitLogged("callers are not authenticated")
			gate.Tell(syscall.SIGTERM)
			require.NoError(t, gate.Wait(), gate.Logged())
			require.NotContains(t, gate.Logged(), "refused")
		})
	}
}
