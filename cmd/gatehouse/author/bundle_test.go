package author_test

import (
	"database/sql"
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
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/programtest"
)

func TestBundleIsBuiltSignedVerifiedAndRead(t *testing.T) {
	private, public := cmdtest.KeyFiles(t)
	_, stranger := cmdtest.KeyFiles(t)
	plain := programtest.Bundled(t)
	revision := programtest.Command(t, "", "check").Out
	revision = strings.TrimSpace(revision[strings.LastIndex(revision, " "):])

	inspected := programtest.Command(t, "", "bundle", "inspect", plain)
	require.Zero(t, inspected.Code)
	require.Contains(t, inspected.Out, "revision:  "+revision+"\n")
	require.Contains(t, inspected.Out, "signature: none\n")
	require.Contains(t, inspected.Out, "lib/url_safety.rego\n")
	require.NotContains(t, inspected.Out, "_test.rego")
	require.Contains(t, programtest.Command(t, "", "check", "--policies", plain).Out, revision, "a bundle is as good as its directory")
	require.Contains(t, programtest.Command(t, "", "bundle", "verify", "--policies", plain).Out, "its signature was not looked at")
	require.Contains(t, programtest.Command(t, "", "bundle", "verify", "--policies", plain, "--policies-key", public).Err, "the bundle is not signed")

	signed := filepath.Join(t.TempDir(), "signed.tar.gz")
	require.Zero(t, programtest.Command(t, "", "bundle", "sign", plain, "--signing-key", private, "--output-file", signed).Code)
	require.Contains(t, programtest.Command(t, "", "bundle", "verify", "--policies", signed, "--policies-key", public).Out, "signed by ")
	require.Contains(t, programtest.Command(t, "", "bundle", "verify", "--policies", signed, "--policies-key", stranger).Err, "by none of the configured keys")
	require.Zero(t, programtest.Command(t, "", "bundle", "verify", "--policies", signed, "--policies-key", stranger, "--policies-key", public).Code)

	tested := programtest.Bundled(t, "--with-tests", "--revision", "v7", "--signing-key", private, "--policies", cmdtest.SmallFolder(t))
	var seen struct {
		Revision string
		Signed   bool
		Files    []struct{ Name string }
	}
	require.NoError(t, json.Unmarshal([]byte(programtest.Command(t, "", "bundle", "inspect", tested, "--output", "json").Out), &seen))
	require.Equal(t, "v7", seen.Revision)
	require.True(t, seen.Signed)
	require.Len(t, seen.Files, 5, "manifest, signature, data, rule and test")

	broken := programtest.Command(t, "", "bundle", "build", filepath.Join(t.TempDir(), "x.tar.gz"), "--policies", cmdtest.PolicyFolder(t, "broken.rego", "package a\n\nb if c(1)"))
	require.Equal(t, cli.ExitFailed, broken.Code)
	require.Contains(t, broken.Err, "broken.rego:3:")
	require.Contains(t, programtest.Command(t, "", "bundle", "verify", "--policies", t.TempDir()).Err, "must name a bundle")
	require.Contains(t, programtest.Command(t, "", "bundle", "build", "x", "--policies", plain).Err, "a bundle is made of a directory")
	require.Contains(t, programtest.Command(t, "", "bundle", "sign", plain, "--signing-key", public).Err, "signing key: ")
	require.Contains(t, programtest.Command(t, "", "bundle", "inspect", public).Err, "no gzipped archive")
}

// TestServeFollowsABundleServer goes through what becomes of a bundle server: it has a bundle, a bad one, none,
// and an older one.
func TestServeFollowsABundleServer(t *testing.T) {
	private, public := cmdtest.KeyFiles(t)
	folder := cmdtest.SmallFolder(t)
	older := programtest.Bundled(t, "--policies", folder, "--revision", "older", "--signing-key", private)
	first := programtest.Bundled(t, "--policies", folder, "--revision", "first", "--signing-key", private, "--with-tests")
	unsigned := programtest.Bundled(t, "--policies", folder, "--revision", "unsigned")
	bundles := &programtest.Shelf{}
	bundles.Put(t, first)
	web := httptest.NewServer(bundles)
	defer web.Close()
	database := filepath.Join(t.TempDir(), "gatehouse.db")
	args := []string{
		"--policies", web.URL + "/bundle.tar.gz", "--policies-key", public, "--policies-poll=20ms", "--policies-long-poll=0s",
		"--max-policy-age=1s", "--database-url=sqlite:" + database,
	}
	s := programtest.Serve(t, args...)
	status := programtest.PolicyStatus(t, s.URL)
	require.Equal(t, "first", status.Bundle.Revision)
	require.NotEmpty(t, status.Bundle.SignedBy)
	require.False(t, status.Stale)

	bundles.Put(t, unsigned)
	require.Eventually(t, func() bool { return programtest.PolicyStatus(t, s.URL).Refused != nil }, cmdtest.Patience, 10*time.Millisecond)
	require.Contains(t, programtest.PolicyStatus(t, s.URL).Refused.Reason, "the bundle is not signed")
	notReady := func() bool {
		code, body := cmdtest.Fetch(t, s.URL+"/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(body, "policies")
	}
	require.Eventually(t, notReady, cmdtest.Patience, 20*time.Millisecond, "what is live grows too old")
	status = programtest.PolicyStatus(t, s.URL)
	require.Equal(t, "first", status.Bundle.Revision, "and stays")
	require.True(t, status.Stale)
	_, exposed := cmdtest.Fetch(t, s.URL+"/metrics")
	require.Contains(t, exposed, "\ngatehouse_policy_stale 1\n")
	require.Contains(t, exposed, "\ngatehouse_policy_refused 1\n")
	require.Contains(t, exposed, "\ngatehouse_policy_reload_failures_total 1\n", "the same again is not tried again")

	bundles.Put(t, older)
	require.Eventually(t, func() bool {
		return strings.Contains(programtest.PolicyStatus(t, s.URL).Refused.Reason, "rollback")
	}, cmdtest.Patience, 10*time.Millisecond)
	bundles.Put(t, first)
	require.Eventually(t, func() bool { return !programtest.PolicyStatus(t, s.URL).Stale }, cmdtest.Patience, 10*time.Millisecond)
	code, _ := cmdtest.Fetch(t, s.URL+"/readyz")
	require.Equal(t, http.StatusOK, code)
	require.Zero(t, s.Stop())
	require.Equal(t, 2, strings.Count(s.Log.String(), "policies were refused; those that were live stay"), "a refusal is told once")

	bundles.Put(t, "")
	s = programtest.Serve(t, args...)
	status = programtest.PolicyStatus(t, s.URL)
	require.Equal(t, "first", status.Bundle.Revision, "from the cache")
	require.True(t, status.Stale)
	require.Contains(t, status.Unreached.Reason, "503")
	require.Eventually(t, notReady, cmdtest.Patience, 20*time.Millisecond)
	require.Zero(t, s.Stop())
	require.Contains(t, s.Log.String(), "the kept policies are used until the source is asked")

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
