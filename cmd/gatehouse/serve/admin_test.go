package serve_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/programtest"
)

// profilesOf finds in the log of a server where its profiles are; "" for nowhere.
func profilesOf(t *testing.T, log string) string {
	t.Helper()
	for line := range strings.Lines(log) {
		var said struct{ Msg, Address string }
		require.NoError(t, json.Unmarshal([]byte(line), &said), line)
		if strings.HasPrefix(said.Msg, "profiles") {
			return "http://" + said.Address
		}
	}
	return ""
}

func TestProfilesAreOnTheAdminListenerAlone(t *testing.T) {
	t.Parallel()
	gate := cmdtest.Start(t, "--pprof", "--admin-listen", "127.0.0.1:0", "--registry-token", "never-to-be-told-to-anyone")
	admin := profilesOf(t, gate.Logged())
	for path, want := range map[string]int{
		"/debug/pprof/": 200, "/debug/pprof/heap": 200, "/debug/pprof/profile?seconds=1": 200, "/debug/pprof/goroutine?debug=1": 200,
		"/debug/pprof/cmdline": 404, "/debug/pprof/nope": 404, "/v1/policies": 404, "/": 404,
	} {
		status, body := cmdtest.Fetch(t, admin+path)
		require.Equal(t, want, status, path)
		require.NotContains(t, body, "never-to-be-told", path)
	}
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/profile"} {
		status, _ := gate.Get(path)
		require.Equal(t, 404, status, path)
	}

	named, err := http.NewRequestWithContext(t.Context(), http.MethodGet, admin+"/debug/pprof/heap", nil)
	require.NoError(t, err)
	named.Host = "rebound.example.com"
	response, err := http.DefaultClient.Do(named)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, 403, response.StatusCode, "a page whose name was made to mean this machine")
}

func TestProfilesAreServedOnlyWhereTheyAreAskedFor(t *testing.T) {
	t.Parallel()
	require.Empty(t, profilesOf(t, cmdtest.Start(t).Logged()))
	for address, want := range map[string]string{"0.0.0.0:0": "beyond loopback", "[::]:0": "beyond loopback", "nowhere": "--admin-listen"} {
		got := programtest.Command(t, "", "serve", "--listen", "127.0.0.1:0", "--pprof", "--admin-listen", address)
		require.Equal(t, cli.ExitFailed, got.Code)
		require.Contains(t, got.Err, want)
	}
}
