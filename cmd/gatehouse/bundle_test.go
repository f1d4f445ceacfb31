package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/httpapi"
)

// keyFiles are a private key and its public half, as files.
func keyFiles(t *testing.T) (private, public string) {
	t.Helper()
	publicKey, privateKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(privateKey)
	require.NoError(t, err)
	private = file(t, "private.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	der, err = x509.MarshalPKIXPublicKey(publicKey)
	require.NoError(t, err)
	return private, file(t, "public.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
}

// smallFolder has one rule and one test.
func smallFolder(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	for name, text := range map[string]string{
		"data.yaml": gatelessData,
		"rule.rego": fmt.Sprintf(stormRule, "external"),
		"rule_test.rego": "package admission.register_test\n\nimport data.admission.register\n\n" +
			"test_external if count(register.deny) == 1 with input.request.kind as \"external\"\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600))
	}
	return folder
}

func bundled(t *testing.T, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bundle.tar.gz")
	got := command(t, "", append([]string{"bundle", "build", path}, args...)...)
	require.Zero(t, got.code, got.err)
	return path
}

func TestABundleIsBuiltSignedVerifiedAndRead(t *testing.T) {
	private, public := keyFiles(t)
	_, stranger := keyFiles(t)
	plain := bundled(t)
	revision := command(t, "", "check").out
	revision = strings.TrimSpace(revision[strings.LastIndex(revision, " "):])

	inspected := command(t, "", "bundle", "inspect", plain)
	require.Zero(t, inspected.code)
	require.Contains(t, inspected.out, "revision:  "+revision+"\n")
	require.Contains(t, inspected.out, "signature: none\n")
	require.Contains(t, inspected.out, "lib/url_safety.rego\n")
	require.NotContains(t, inspected.out, "_test.rego")
	require.Contains(t, command(t, "", "check", "--policies", plain).out, revision, "a bundle is as good as its directory")
	require.Contains(t, command(t, "", "bundle", "verify", "--policies", plain).out, "its signature was not looked at")
	require.Contains(t, command(t, "", "bundle", "verify", "--policies", plain, "--policies-key", public).err, "the bundle is not signed")

	signed := filepath.Join(t.TempDir(), "signed.tar.gz")
	require.Zero(t, command(t, "", "bundle", "sign", plain, "--signing-key", private, "--output-file", signed).code)
	require.Contains(t, command(t, "", "bundle", "verify", "--policies", signed, "--policies-key", public).out, "signed by ")
	require.Contains(t, command(t, "", "bundle", "verify", "--policies", signed, "--policies-key", stranger).err, "by none of the configured keys")
	require.Zero(t, command(t, "", "bundle", "verify", "--policies", signed, "--policies-key", stranger, "--policies-key", public).code)

	tested := bundled(t, "--with-tests", "--revision", "v7", "--signing-key", private, "--policies", smallFolder(t))
	var seen struct {
		Revision string
		Signed   bool
		Files    []struct{ Name string }
	}
	require.NoError(t, json.Unmarshal([]byte(command(t, "", "bundle", "inspect", tested, "--output", "json").out), &seen))
	require.Equal(t, "v7", seen.Revision)
	require.True(t, seen.Signed)
	require.Len(t, seen.Files, 5, "manifest, signature, data, rule and test")

	broken := command(t, "", "bundle", "build", filepath.Join(t.TempDir(), "x.tar.gz"), "--policies", policyFolder(t, "broken.rego", "package a\n\nb if c(1)"))
	require.Equal(t, exitFailed, broken.code)
	require.Contains(t, broken.err, "broken.rego:3:")
	require.Contains(t, command(t, "", "bundle", "verify", "--policies", t.TempDir()).err, "must name a bundle")
	require.Contains(t, command(t, "", "bundle", "build", "x", "--policies", plain).err, "a bundle is made of a directory")
	require.Contains(t, command(t, "", "bundle", "sign", plain, "--signing-key", public).err, "signing key: ")
	require.Contains(t, command(t, "", "bundle", "inspect", public).err, "no gzipped archive")
}

// shelf serves one bundle that a test may change or take away.
type shelf struct {
	mu      sync.Mutex
	archive []byte
}

func (s *shelf) put(t *testing.T, path string) {
	t.Helper()
	var archive []byte
	if path != "" {
		var err error
		archive, err = os.ReadFile(path)
		require.NoError(t, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.archive = archive
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.archive == nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write(s.archive)
}

func policyStatus(t *testing.T, url string) httpapi.PolicyStatus {
	t.Helper()
	status, body := fetch(t, url+"/v1/policies")
	require.Equal(t, http.StatusOK, status, body)
	var shown httpapi.PolicyStatus
	require.NoError(t, json.Unmarshal([]byte(body), &shown))
	return shown
}

func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	response, err := http.Get(url)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(body)
}

// TestServeFollowsABundleServer goes through what becomes of a bundle server: it has a bundle, a bad one, none,
// and an older one.
func TestServeFollowsABundleServer(t *testing.T) {
	private, public := keyFiles(t)
	folder := smallFolder(t)
	older := bundled(t, "--policies", folder, "--revision", "older", "--signing-key", private)
	first := bundled(t, "--policies", folder, "--revision", "first", "--signing-key", private, "--with-tests")
	unsigned := bundled(t, "--policies", folder, "--revision", "unsigned")
	bundles := &shelf{}
	bundles.put(t, first)
	web := httptest.NewServer(bundles)
	defer web.Close()
	database := filepath.Join(t.TempDir(), "gatehouse.db")
	args := []string{
		"--policies", web.URL + "/bundle.tar.gz", "--policies-key", public, "--policies-poll=20ms", "--policies-long-poll=0s",
		"--max-policy-age=1s", "--database-url=sqlite:" + database,
	}
	s := serveHere(t, args...)
	status := policyStatus(t, s.url)
	require.Equal(t, "first", status.Bundle.Revision)
	require.NotEmpty(t, status.Bundle.SignedBy)
	require.False(t, status.Stale)

	bundles.put(t, unsigned)
	require.Eventually(t, func() bool { return policyStatus(t, s.url).Refused != nil }, patience, 10*time.Millisecond)
	require.Contains(t, policyStatus(t, s.url).Refused.Reason, "the bundle is not signed")
	notReady := func() bool {
		code, body := fetch(t, s.url+"/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(body, "policies")
	}
	require.Eventually(t, notReady, patience, 20*time.Millisecond, "what is live grows too old")
	status = policyStatus(t, s.url)
	require.Equal(t, "first", status.Bundle.Revision, "and stays")
	require.True(t, status.Stale)
	_, exposed := fetch(t, s.url+"/metrics")
	require.Contains(t, exposed, "\ngatehouse_policy_stale 1\n")
	require.Contains(t, exposed, "\ngatehouse_policy_refused 1\n")
	require.Contains(t, exposed, "\ngatehouse_policy_reload_failures_total 1\n", "the same again is not tried again")

	bundles.put(t, older)
	require.Eventually(t, func() bool {
		return strings.Contains(policyStatus(t, s.url).Refused.Reason, "rollback")
	}, patience, 10*time.Millisecond)
	bundles.put(t, first)
	require.Eventually(t, func() bool { return !policyStatus(t, s.url).Stale }, patience, 10*time.Millisecond)
	code, _ := fetch(t, s.url+"/readyz")
	require.Equal(t, http.StatusOK, code)
	require.Zero(t, s.stop())
	require.Equal(t, 2, strings.Count(s.log.String(), "policies were refused; those that were live stay"), "a refusal is told once")

	bundles.put(t, "")
	s = serveHere(t, args...)
	status = policyStatus(t, s.url)
	require.Equal(t, "first", status.Bundle.Revision, "from the cache")
	require.True(t, status.Stale)
	require.Contains(t, status.Unreached.Reason, "503")
	require.Eventually(t, notReady, patience, 20*time.Millisecond)
	require.Zero(t, s.stop())
	require.Contains(t, s.log.String(), "the kept policies are used until the source is asked")

	require.Equal(t, []string{"activated", "refused", "refused", "activated", "activated"}, recordedActivations(t, database))
}

func recordedActivations(t *testing.T, database string) []string {
	t.Helper()
	store, err := sql.Open("sqlite", database)
	require.NoError(t, err)
	defer func() { _ = store.Close() }()
	rows, err := store.QueryContext(t.Context(), `select result from policy_activations order by id`)
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	var results []string
	for rows.Next() {
		var result string
		require.NoError(t, rows.Scan(&result))
		results = append(results, result)
	}
	require.NoError(t, rows.Err())
	return results
}
