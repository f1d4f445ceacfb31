package serve_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/programtest"
	"github.com/molecule-ai/gatehouse/internal/testenv"
)

func TestServeDoesNotStartOnWhatItCannotServe(t *testing.T) {
	t.Chdir(t.TempDir())
	const beyond = "beyond loopback and callers are not authenticated: set --tokens-file or GATEHOUSE_REGISTRY_TOKEN"
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"all addresses":         {[]string{"--listen=:0"}, beyond},
		"all IPv4 addresses":    {[]string{"--listen=0.0.0.0:0"}, beyond},
		"all IPv6 addresses":    {[]string{"--listen=[::]:0"}, beyond},
		"another address":       {[]string{"--listen=192.0.2.1:0"}, beyond},
		"no port":               {[]string{"--listen=127.0.0.1"}, "--listen: "},
		"short token":           {[]string{"--registry-token=hunter2"}, "--registry-token: the token of registry is shorter than 16 characters"},
		"bad tokens file":       {[]string{"--tokens-file", cmdtest.File(t, "tokens.yaml", "tokens: []")}, "tokens.yaml:1:1: no tokens"},
		"too long a request":    {[]string{"--request-timeout=2m1s"}, "--request-timeout must be at most 2m0s"},
		"too short a retention": {[]string{"--retention=23h"}, "--retention must be at least 24h, or 0 to keep all decisions"},
		"other database":        {[]string{"--database-url=mysql://x"}, "--database-url is neither postgres://… nor sqlite:PATH"},
		"bad Postgres URL":      {[]string{"--database-url=postgres://:x:y/"}, "gatehouse: "},
		"no SQLite path":        {[]string{"--database-url=sqlite:"}, "a path is required"},
		"demo with Postgres":    {[]string{"--demo", "--database-url=postgres://localhost/x"}, "--demo is for SQLite"},
		"bad Redis URL":         {[]string{"--redis-url=http://localhost"}, "gatehouse: "},
		"no policies":           {[]string{"--policies=/nowhere"}, "the policies were refused"},
		"too short an age":      {[]string{"--policies=https://127.0.0.1:1/b.tar.gz", "--max-policy-age=59s"}, "must be at least twice as long as the source is not asked (30s)"},
		"no bundle server":      {[]string{"--policies=https://127.0.0.1:1/b.tar.gz"}, "connection refused"},
		"no key":                {[]string{"--policies=x.tar.gz", "--policies-key=hunter2"}, "key: neither PEM nor a file"},
		"a signed folder":       {[]string{"--policies=.", "--policies-key", cmdtest.File(t, "key.pem", somePublicKey)}, "a directory is not signed, and a key is configured"},
		"bad policies":          {[]string{"--policies", cmdtest.PolicyFolder(t, "broken.rego", "package a\n\nb if c(1)")}, "broken.rego:3:"},
	} {
		t.Run(name, func(t *testing.T) {
			got := programtest.Command(t, "", append([]string{"serve", "--listen=127.0.0.1:0"}, test.args...)...)
			require.Equal(t, cli.ExitFailed, got.Code)
			require.Contains(t, got.Err, test.want)
			require.NotContains(t, got.Err, `"serving"`)
			require.NotContains(t, got.Err, "hunter2")
		})
	}
}

func requirePromtool(t *testing.T, text string) {
	t.Helper()
	promtool, err := testenv.Promtool(t.Context())
	require.NoError(t, err)
	check := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	check.Stdin = strings.NewReader(text)
	output, err := check.CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.Empty(t, string(output))
}

func TestServeOnSQLite(t *testing.T) {
	t.Parallel()
	s := programtest.Serve(t, "--demo", "--database-url", "sqlite:"+filepath.Join(t.TempDir(), "gatehouse.db"))
	s.WaitReady()
	register := func(n int) string {
		status, body := s.Send(http.MethodPost, "/v1/admission/register",
			fmt.Sprintf(`{"workspace": {"id": "00000000-0000-4000-8000-%012d", "url": "https://agent.example.com"}}`, n), "")
		require.Equal(t, 200, status, body)
		return body
	}
	require.Contains(t, register(1), `"allowed":true`)
	for range 3 {
		require.Contains(t, register(2), `"reason":"model_missing"`)
	}
	require.Contains(t, register(4), `"allowed":false`)
	status, _ := s.Send(http.MethodPost, "/v1/admission/retire", `{"workspace": {"id": "00000000-0000-4000-8000-000000000001"}}`, "")
	require.Equal(t, 404, status)

	_, text := s.Send(http.MethodGet, "/metrics", "", "")
	requirePromtool(t, text)
	for _, line := range []string{
		`gatehouse_admission_decisions_total{code="",decision="allow",hook="register",kind="platform"} 1`,
		`gatehouse_admission_decisions_total{code="PLATFORM_AGENT_IDENTITY_GATE",decision="deny",hook="register",kind="platform"} 3`,
		`gatehouse_admission_decisions_total{code="other",decision="refused",hook="other",kind="other"} 1`,
		`gatehouse_admission_decisions_total{code="",decision="allow",hook="heartbeat",kind="platform"} 0`,
		`gatehouse_http_requests_total{method="POST",route="/v1/admission/{hook}",status="504"} 0`,
		`gatehouse_decision_records_total{result="recorded"} 5`,
		`gatehouse_outbox_up 1`,
		`gatehouse_policy_reload_failures_total 0`,
	} {
		require.Contains(t, text, line+"\n")
	}
	require.NotContains(t, text, "00000000-0000")
	require.Zero(t, s.Stop())
	require.Contains(t, s.Log.String(), "callers are not authenticated, so only loopback is served")
	require.Contains(t, s.Log.String(), `"msg":"stopped"`)
}

func TestServeOnPostgresShowsMetricsThatPromtoolAccepts(t *testing.T) {
	t.Parallel()
	s := programtest.Serve(t, "--database-url", testenv.DatabaseURL(t, testenv.RegistryCurrent), "--redis-url", testenv.RedisURL(t))
	s.WaitReady()
	_, text := s.Send(http.MethodGet, "/metrics", "", "")
	requirePromtool(t, text)
	for _, name := range []string{
		"gatehouse_postgres_pool_connections ", "gatehouse_outbox_up 1\n", "gatehouse_policy_info{", "gatehouse_build_info{",
		`gatehouse_announcements_total{result="dead",sink="`, "go_goroutines ", "process_cpu_seconds_total ", "gatehouse_http_requests_total{",
	} {
		require.Contains(t, text, "\n"+name)
	}
	status, body := s.Send(http.MethodPut, "/v1/workspaces/00000000-0000-4000-8000-000000000001", `{}`, "")
	require.Equal(t, 403, status, "facts of the registry's own database are not written: %s", body)
	require.Zero(t, s.Stop())
}

func TestServeStoresWhatTheRegistryTells(t *testing.T) {
	t.Parallel()
	tokens := cmdtest.File(t, "tokens.yaml", fmt.Sprintf("tokens: [{name: eu, role: registry, sha256: %s}]", cmdtest.Hashed(cmdtest.TestToken)))
	s := programtest.Serve(t, "--tokens-file", tokens, "--registry-token=another-token-0123456", "--database-url", "sqlite:"+filepath.Join(t.TempDir(), "gatehouse.db"))
	s.WaitReady()
	const path = "/v1/workspaces/01890a5d-ac96-774b-bcce-b302099a8057"
	review := func(token string) (int, string) {
		return s.Send(http.MethodPost, "/v1/admission/register", cmdtest.EvalReview, token)
	}
	for _, token := range []string{cmdtest.TestToken, "another-token-0123456"} {
		status, body := s.Send(http.MethodPut, path, `{"name": "concierge", "kind": "platform", "status": "provisioning"}`, token)
		require.Equal(t, 204, status, body)
		_, body = review(token)
		require.Contains(t, body, `"model_missing"`)
		status, _ = s.Send(http.MethodPut, path+"/secrets/MODEL", "", token)
		require.Equal(t, 204, status)
		_, body = review(token)
		require.Contains(t, body, `"allowed":true`)
		status, _ = s.Send(http.MethodDelete, path+"/secrets/MODEL", "", token)
		require.Equal(t, 204, status)
	}
	status, _ := review("")
	require.Equal(t, 401, status)
	status, _ = s.Send(http.MethodPut, "/v1/workspaces/00000000-0000-4000-8000-000000000009/secrets/MODEL", "", cmdtest.TestToken)
	require.Equal(t, 404, status)
	require.Zero(t, s.Stop())
	require.NotContains(t, s.Log.String(), cmdtest.TestToken)
	require.NotContains(t, s.Log.String(), cmdtest.Hashed(cmdtest.TestToken))
	require.NotContains(t, s.Log.String(), "not authenticated")
}

// A tokens file that changes is used without a signal; a bad one is told and counted, and leaves the callers as they were.
func TestTokensFileThatChangesIsUsed(t *testing.T) {
	t.Parallel()
	const second = "another-token-0123456"
	entry := func(token string) string {
		return fmt.Sprintf("tokens: [{name: eu, role: viewer, sha256: %s}]", cmdtest.Hashed(token))
	}
	path := cmdtest.File(t, "tokens.yaml", entry(cmdtest.TestToken))
	s := programtest.Serve(t, "--tokens-file", path, "--database-url=sqlite:"+filepath.Join(t.TempDir(), "gatehouse.db"))
	status := func(token string) int {
		status, _ := s.Send(http.MethodGet, "/v1/policies", "", token)
		return status
	}
	failures := func() string {
		_, exposed := cmdtest.Fetch(t, s.URL+"/metrics")
		_, rest, _ := strings.Cut(exposed, "\ngatehouse_setting_reread_failures_total{setting=\"tokens-file\"} ")
		count, _, _ := strings.Cut(rest, "\n")
		return count
	}
	require.Equal(t, http.StatusOK, status(cmdtest.TestToken))
	require.Equal(t, http.StatusUnauthorized, status(second))
	require.Equal(t, "0", failures())

	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.Eventually(t, func() bool { return failures() == "1" }, cmdtest.Patience, 20*time.Millisecond)
	require.Equal(t, http.StatusOK, status(cmdtest.TestToken))

	require.NoError(t, os.WriteFile(path, []byte(entry(second)), 0o600))
	require.Eventually(t, func() bool { return status(second) == http.StatusOK }, cmdtest.Patience, 20*time.Millisecond)
	require.Equal(t, http.StatusUnauthorized, status(cmdtest.TestToken))
	require.Zero(t, s.Stop())
	require.Contains(t, s.Log.String(), `"msg":"a setting was read again from its file","setting":"tokens-file"`)
	require.NotContains(t, s.Log.String(), cmdtest.Hashed(second))
}

const somePublicKey = `-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
`
