package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/metrics"
	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/internal/testenv"
)

const testToken = "a-token-of-a-registry-0123"

func hashed(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

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
		"bad tokens file":       {[]string{"--tokens-file", file(t, "tokens.yaml", "tokens: []")}, "tokens.yaml:1:1: no tokens"},
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
		"a signed folder":       {[]string{"--policies=.", "--policies-key", file(t, "key.pem", somePublicKey)}, "a directory is not signed, and a key is configured"},
		"bad policies":          {[]string{"--policies", policyFolder(t, "broken.rego", "package a\n\nb if c(1)")}, "broken.rego:3:"},
	} {
		t.Run(name, func(t *testing.T) {
			got := command(t, "", append([]string{"serve", "--listen=127.0.0.1:0"}, test.args...)...)
			require.Equal(t, exitFailed, got.code)
			require.Contains(t, got.err, test.want)
			require.NotContains(t, got.err, `"serving"`)
			require.NotContains(t, got.err, "hunter2")
		})
	}
}

// served is a serve that runs in this process.
type served struct {
	t    *testing.T
	url  string
	log  *bytes.Buffer // to be read once it has ended
	stop func() int
}

func serveHere(t *testing.T, args ...string) *served {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		code := run(ctx, append([]string{"serve", "--listen=127.0.0.1:0"}, args...), streams{nil, io.Discard, writer})
		_ = writer.Close()
		ended <- code
	}()
	s := &served{t: t, log: &bytes.Buffer{}}
	addresses, copied := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(copied)
		decoder := json.NewDecoder(io.TeeReader(reader, s.log))
		for {
			var line struct{ Msg, Address string }
			if decoder.Decode(&line) != nil {
				_, _ = io.Copy(s.log, reader)
				return
			}
			if line.Msg == "serving" {
				addresses <- line.Address
			}
		}
	}()
	stopped := false
	s.stop = func() int {
		stopped = true
		cancel()
		code := <-ended
		<-copied
		return code
	}
	t.Cleanup(func() {
		if !stopped {
			s.stop()
		}
	})
	select {
	case address := <-addresses:
		s.url = "http://" + address
	case <-copied:
		require.FailNow(t, "serve ended", s.log.String())
	case <-time.After(patience):
		require.FailNow(t, "serve does not listen")
	}
	return s
}

// send answers with status and body, on a connection of its own.
func (s *served) send(method, path, body, token string) (int, string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	require.NoError(s.t, err)
	request.Close = true
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(s.t, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	require.NoError(s.t, err)
	return response.StatusCode, string(text)
}

func (s *served) waitReady() {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		status, _ := s.send(http.MethodGet, "/readyz", "", "")
		return status == http.StatusOK
	}, patience, 20*time.Millisecond)
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
	s := serveHere(t, "--demo", "--database-url", "sqlite:"+filepath.Join(t.TempDir(), "gatehouse.db"))
	s.waitReady()
	register := func(n int) string {
		status, body := s.send(http.MethodPost, "/v1/admission/register",
			fmt.Sprintf(`{"workspace": {"id": "00000000-0000-4000-8000-%012d", "url": "https://agent.example.com"}}`, n), "")
		require.Equal(t, 200, status, body)
		return body
	}
	require.Contains(t, register(1), `"allowed":true`)
	for range 3 {
		require.Contains(t, register(2), `"reason":"model_missing"`)
	}
	require.Contains(t, register(4), `"allowed":false`)
	status, _ := s.send(http.MethodPost, "/v1/admission/retire", `{"workspace": {"id": "00000000-0000-4000-8000-000000000001"}}`, "")
	require.Equal(t, 404, status)

	_, text := s.send(http.MethodGet, "/metrics", "", "")
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
	require.Zero(t, s.stop())
	require.Contains(t, s.log.String(), "callers are not authenticated, so only loopback is served")
	require.Contains(t, s.log.String(), `"msg":"stopped"`)
}

func TestServeOnPostgresShowsMetricsThatPromtoolAccepts(t *testing.T) {
	s := serveHere(t, "--database-url", testenv.DatabaseURL(t, testenv.RegistryCurrent), "--redis-url", testenv.RedisURL(t))
	s.waitReady()
	_, text := s.send(http.MethodGet, "/metrics", "", "")
	requirePromtool(t, text)
	for _, name := range []string{
		"gatehouse_postgres_pool_connections ", "gatehouse_outbox_up 1\n", "gatehouse_policy_info{", "gatehouse_build_info{",
		`gatehouse_announcements_total{result="dead",sink="`, "go_goroutines ", "process_cpu_seconds_total ", "gatehouse_http_requests_total{",
	} {
		require.Contains(t, text, "\n"+name)
	}
	status, body := s.send(http.MethodPut, "/v1/workspaces/00000000-0000-4000-8000-000000000001", `{}`, "")
	require.Equal(t, 403, status, "facts of the registry's own database are not written: %s", body)
	require.Zero(t, s.stop())
}

func TestServeStoresWhatTheRegistryTells(t *testing.T) {
	tokens := file(t, "tokens.yaml", fmt.Sprintf("tokens: [{name: eu, role: registry, sha256: %s}]", hashed(testToken)))
	s := serveHere(t, "--tokens-file", tokens, "--registry-token=another-token-0123456", "--database-url", "sqlite:"+filepath.Join(t.TempDir(), "gatehouse.db"))
	s.waitReady()
	const path = "/v1/workspaces/01890a5d-ac96-774b-bcce-b302099a8057"
	review := func(token string) (int, string) {
		return s.send(http.MethodPost, "/v1/admission/register", evalReview, token)
	}
	for _, token := range []string{testToken, "another-token-0123456"} {
		status, body := s.send(http.MethodPut, path, `{"name": "concierge", "kind": "platform", "status": "provisioning"}`, token)
		require.Equal(t, 204, status, body)
		_, body = review(token)
		require.Contains(t, body, `"model_missing"`)
		status, _ = s.send(http.MethodPut, path+"/secrets/MODEL", "", token)
		require.Equal(t, 204, status)
		_, body = review(token)
		require.Contains(t, body, `"allowed":true`)
		status, _ = s.send(http.MethodDelete, path+"/secrets/MODEL", "", token)
		require.Equal(t, 204, status)
	}
	status, _ := review("")
	require.Equal(t, 401, status)
	status, _ = s.send(http.MethodPut, "/v1/workspaces/00000000-0000-4000-8000-000000000009/secrets/MODEL", "", testToken)
	require.Equal(t, 404, status)
	require.Zero(t, s.stop())
	require.NotContains(t, s.log.String(), testToken)
	require.NotContains(t, s.log.String(), hashed(testToken))
	require.NotContains(t, s.log.String(), "not authenticated")
}

func TestReloadKeepsWhatWasThereWhenItRefuses(t *testing.T) {
	schema, err := inputSchema()
	require.NoError(t, err)
	var log bytes.Buffer // to be read when nobody writes any more
	c := &serveCommand{LogFormat: "json", LogLevel: "info"}
	c.PoliciesPoll = time.Hour
	logger, flush := c.logger(streams{nil, nil, &log})
	defer flush()
	engine := opa.NewEngine(schema, time.Now, c.engineOptions(newJournal(logger))...)
	live := livePolicies{engine: engine}
	require.ErrorContains(t, live.ready(t.Context(), false), "no policies")

	folder := policyFolder(t)
	c.Policies = folder
	c.TokensFile = file(t, "tokens.yaml", fmt.Sprintf("tokens: [{name: eu, role: registry, sha256: %s}]", hashed(testToken)))
	reports := testReports(logger)
	policies, err := c.startFeed(t.Context(), engine, reports)
	require.NoError(t, err)
	tokens, err := c.tokens(reports)
	require.NoError(t, err)
	following := startBackground(t.Context(), policies.run)
	defer following.close()
	first := live.PolicyStatus()
	require.NoError(t, live.ready(t.Context(), false))
	require.Equal(t, folder, first.Source)
	require.True(t, live.HasCode("PLATFORM_AGENT_IDENTITY_GATE"))
	require.False(t, tokens.callers.Open())

	require.NoError(t, os.WriteFile(filepath.Join(folder, "broken.rego"), []byte("package a\n\nb if c(1)"), 0o600))
	require.NoError(t, os.WriteFile(c.TokensFile, []byte("tokens: []"), 0o600))
	policies.reload(t.Context())
	tokens.reload()
	require.Eventually(t, func() bool { return live.PolicyStatus().Refused != nil }, patience, 5*time.Millisecond)
	second := live.PolicyStatus()
	require.Equal(t, first.Revision, second.Revision)
	require.True(t, second.Stale)
	require.Contains(t, second.Refused.Reason, "broken.rego:3:")
	require.GreaterOrEqual(t, live.PolicyState().Failures, int64(1))
	require.False(t, tokens.callers.Open(), "a file without tokens must not open the door")

	require.NoError(t, os.WriteFile(filepath.Join(folder, "broken.rego"), []byte("package admission.lib\n\nunused := 1\n"), 0o600))
	policies.reload(t.Context())
	tokens.reload()
	require.Eventually(t, func() bool { // the file may also be read while it is empty, before it is written
		status := live.PolicyStatus()
		return status.Refused == nil && status.Revision != first.Revision
	}, patience, 5*time.Millisecond)

	following.close()
	require.Contains(t, log.String(), "policies were refused; those that were live stay")
	require.Contains(t, log.String(), `"msg":"a setting could not be read again; what was good stays in use","setting":"tokens-file"`)
}

func testReports(logger *slog.Logger) settingReports {
	return settingReports{meter: metrics.NewSettings(prometheus.NewRegistry()), log: logger}
}

// A tokens file that changes is used without a signal; a bad one is told and counted, and leaves the callers as they were.
func TestATokensFileThatChangesIsUsed(t *testing.T) {
	const second = "another-token-0123456"
	entry := func(token string) string {
		return fmt.Sprintf("tokens: [{name: eu, role: viewer, sha256: %s}]", hashed(token))
	}
	path := file(t, "tokens.yaml", entry(testToken))
	s := serveHere(t, "--tokens-file", path, "--database-url=sqlite:"+filepath.Join(t.TempDir(), "gatehouse.db"))
	status := func(token string) int {
		status, _ := s.send(http.MethodGet, "/v1/policies", "", token)
		return status
	}
	failures := func() string {
		_, exposed := fetch(t, s.url+"/metrics")
		_, rest, _ := strings.Cut(exposed, "\ngatehouse_setting_reread_failures_total{setting=\"tokens-file\"} ")
		count, _, _ := strings.Cut(rest, "\n")
		return count
	}
	require.Equal(t, http.StatusOK, status(testToken))
	require.Equal(t, http.StatusUnauthorized, status(second))
	require.Equal(t, "0", failures())

	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.Eventually(t, func() bool { return failures() == "1" }, patience, 20*time.Millisecond)
	require.Equal(t, http.StatusOK, status(testToken))

	require.NoError(t, os.WriteFile(path, []byte(entry(second)), 0o600))
	require.Eventually(t, func() bool { return status(second) == http.StatusOK }, patience, 20*time.Millisecond)
	require.Equal(t, http.StatusUnauthorized, status(testToken))
	require.Zero(t, s.stop())
	require.Contains(t, s.log.String(), `"msg":"a setting was read again from its file","setting":"tokens-file"`)
	require.NotContains(t, s.log.String(), hashed(second))
}

const somePublicKey = `-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
`
