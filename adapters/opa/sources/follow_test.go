package sources_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/adapters/opa/check"
	"github.com/molecule-ai/gatehouse/adapters/opa/sources"
)

func save(t testing.TB, folder, name, text string) {
	t.Helper()
	path := filepath.Join(folder, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

func eventually(t testing.TB, condition func() bool, says string) {
	t.Helper()
	require.Eventually(t, condition, patience, 5*time.Millisecond, says)
}

func refusedWith(engine *opa.Engine, says string) func() bool {
	return func() bool {
		refused := engine.Status().Refused
		return refused != nil && strings.Contains(refused.Err.Error(), says)
	}
}

func TestDirectoryIsLiveSoonAfterASave(t *testing.T) {
	folder := t.TempDir()
	save(t, folder, "data.yaml", gateless)
	save(t, folder, "register/some_rule.rego", denyAll("one"))
	engine := newEngine(t)
	// Polling is so slow here that only a notification can be in time.
	follower := follow(t, open(t, folder, sources.Options{PollEvery: time.Hour}), engine, nil)
	require.NoError(t, follower.Start(t.Context()))
	require.Equal(t, []string{"one"}, reasons(t, engine))
	runs(t, follower)

	// The watch begins some time after Start. The first change may come too early, so it is saved until it is seen.
	eventually(t, func() bool {
		save(t, folder, "register/some_rule.rego", denyAll("two"))
		return reasons(t, engine)[0] == "two"
	}, "the first change")
	saved := time.Now()
	save(t, folder, "register/some_rule.rego", denyAll("three"))
	eventually(t, func() bool { return reasons(t, engine)[0] == "three" }, "a change")
	took := time.Since(saved)
	t.Logf("from saved to live: %s", took)
	require.Less(t, took, time.Second)

	save(t, folder, "register/some_rule.rego", "package admission.reg")
	eventually(t, refusedWith(engine, "no hook"), "half a file")
	require.Equal(t, []string{"three"}, reasons(t, engine))
	save(t, folder, "register/some_rule.rego", denyAll("three"))
	eventually(t, func() bool { return engine.Status().Refused == nil }, "the whole file")
	save(t, folder, "heartbeat/deeper/other.rego", denyAll("deeper"))
	eventually(t, func() bool { return len(reasons(t, engine)) == 2 }, "a new folder")
}

func TestDirectoryIsPolledWithoutNotifications(t *testing.T) {
	folder := t.TempDir()
	save(t, folder, "data.yaml", gateless)
	save(t, folder, "some_rule.rego", denyAll("one"))
	engine := newEngine(t)
	follower := follow(t, open(t, folder, sources.Options{}), engine, nil)
	require.NoError(t, follower.Start(t.Context()))

	info, err := os.Stat(filepath.Join(folder, "some_rule.rego"))
	require.NoError(t, err)
	save(t, folder, "some_rule.rego", denyAll("two"))
	require.NoError(t, os.Chtimes(filepath.Join(folder, "some_rule.rego"), info.ModTime(), info.ModTime()), "as old and as large as before")
	require.NoError(t, follower.Check(t.Context()))
	require.Equal(t, []string{"two"}, reasons(t, engine))

	confirmed := engine.Status().Confirmed
	require.NoError(t, follower.Check(t.Context()))
	require.True(t, engine.Status().Confirmed.After(confirmed))

	require.NoError(t, os.Rename(folder, folder+".away"))
	require.Error(t, follower.Check(t.Context()))
	require.NotNil(t, engine.Status().Unreached)
	require.Nil(t, engine.Status().Refused)
	require.Equal(t, []string{"two"}, reasons(t, engine))
	require.NoError(t, os.Rename(folder+".away", folder))
	require.NoError(t, follower.Check(t.Context()))
	require.Nil(t, engine.Status().Unreached)
}

// A mounted ConfigMap is a folder of links into a folder whose link is swapped.
func TestConfigMapSwapIsSeen(t *testing.T) {
	folder := t.TempDir()
	save(t, folder, "..2026_04_01/some_rule.rego", denyAll("one"))
	save(t, folder, "..2026_04_01/data.yaml", gateless+"a: 1")
	require.NoError(t, os.Symlink("..2026_04_01", filepath.Join(folder, "..data")))
	for _, name := range []string{"some_rule.rego", "data.yaml"} {
		require.NoError(t, os.Symlink(filepath.Join("..data", name), filepath.Join(folder, name)))
	}
	engine := newEngine(t)
	follower := follow(t, open(t, folder, sources.Options{PollEvery: 50 * time.Millisecond}), engine, nil)
	require.NoError(t, follower.Start(t.Context()))
	require.Equal(t, []string{"one"}, reasons(t, engine))
	runs(t, follower)

	save(t, folder, "..2026_04_02/some_rule.rego", denyAll("two"))
	save(t, folder, "..2026_04_02/data.yaml", gateless+"a: 2")
	require.NoError(t, os.Symlink("..2026_04_02", filepath.Join(folder, "..data_tmp")))
	require.NoError(t, os.Rename(filepath.Join(folder, "..data_tmp"), filepath.Join(folder, "..data")))
	require.NoError(t, os.RemoveAll(filepath.Join(folder, "..2026_04_01")))
	eventually(t, func() bool { return reasons(t, engine)[0] == "two" }, "the swap")
}

func TestDirectoryIsBounded(t *testing.T) {
	folder := t.TempDir()
	save(t, folder, "some_rule.rego", denyAll("one"))
	save(t, folder, "data.json", `{"a": "`+strings.Repeat("b", 1000)+`"}`)
	for says, limits := range map[string]check.Limits{
		"more than 900 bytes of policies and data": {Bytes: 900, Files: 10},
		"more than 1 files":                        {Bytes: 1 << 20, Files: 1},
	} {
		_, err := sources.Once(t.Context(), open(t, folder, sources.Options{Trust: sources.Trust{Limits: limits}}))
		require.ErrorContains(t, err, says)
	}
	_, err := sources.Open(folder, sources.Options{Trust: sources.Trust{Keys: keysOf(t, newKeyPair(t, "ES256").public)}})
	require.ErrorContains(t, err, "a directory is not signed, and a key is configured")
}

func TestBundleFileIsFollowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bundle.tar.gz")
	_, err := sources.Once(t.Context(), open(t, path, sources.Options{}))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(path, build(t, sources.Package{Files: module(denyAll("one"))}), 0o600))
	engine := newEngine(t)
	follower := follow(t, open(t, "file:"+path, sources.Options{PollEvery: 50 * time.Millisecond}), engine, nil)
	require.NoError(t, follower.Start(t.Context()))
	require.Equal(t, []string{"one"}, reasons(t, engine))
	runs(t, follower)

	whole := build(t, sources.Package{Files: module(denyAll("two"))})
	require.NoError(t, os.WriteFile(path, whole[:len(whole)/2], 0o600))
	eventually(t, refusedWith(engine, "EOF"), "half a bundle")
	require.NoError(t, os.WriteFile(path, whole, 0o600))
	eventually(t, func() bool { return reasons(t, engine)[0] == "two" }, "a whole bundle")

	require.NoError(t, os.WriteFile(path, make([]byte, sources.DefaultLimits.Bytes+1), 0o600))
	eventually(t, refusedWith(engine, "more than 33554432 bytes"), "a large bundle")
}

func TestBundleServerIsAskedWithItsETag(t *testing.T) {
	server := &bundleServer{token: "secret-token"}
	server.put(build(t, sources.Package{Files: module(denyAll("one"))}), `"1"`)
	web := httptest.NewServer(server)
	defer web.Close()
	engine := newEngine(t)

	wrong := follow(t, open(t, web.URL+"/b.tar.gz", sources.Options{Token: "wrong"}), engine, nil)
	require.EqualError(t, wrong.Start(t.Context()), "the server answered 401 Unauthorized")
	require.Nil(t, engine.Current())

	follower := follow(t, open(t, web.URL+"/b.tar.gz?secret=1", sources.Options{Token: "secret-token"}), engine, nil)
	require.NoError(t, follower.Start(t.Context()))
	require.Equal(t, web.URL+"/b.tar.gz", engine.Status().Snapshot.Source(), "a query may be a secret")
	confirmed := engine.Status().Confirmed
	require.NoError(t, follower.Check(t.Context()))
	require.True(t, engine.Status().Confirmed.After(confirmed))
	server.put(build(t, sources.Package{Files: module(denyAll("two"))}), `"2"`)
	require.NoError(t, follower.Check(t.Context()))
	require.Equal(t, []string{"two"}, reasons(t, engine))
	require.NoError(t, follower.Check(t.Context()))

	seen, answers := server.log()
	require.Equal(t, []int{401, 200, 304, 200, 304}, answers)
	require.Empty(t, seen[1].Get("If-None-Match"))
	require.Equal(t, `"1"`, seen[2].Get("If-None-Match"))
	require.Equal(t, `"2"`, seen[4].Get("If-None-Match"))
	require.Equal(t, "modes=snapshot", seen[4].Get("Prefer"))
}

func TestLongPollBringsAChangeAtOnce(t *testing.T) {
	server := &bundleServer{longPoll: true}
	server.put(build(t, sources.Package{Files: module(denyAll("one"))}), `"1"`)
	web := httptest.NewServer(server)
	defer web.Close()
	engine := newEngine(t)
	options := sources.Options{LongPoll: time.Minute, PollEvery: 10 * time.Millisecond}
	follower := follow(t, open(t, web.URL+"/b.tar.gz", options), engine, nil)
	require.NoError(t, follower.Start(t.Context()))
	runs(t, follower)
	eventually(t, func() bool { seen, _ := server.log(); return len(seen) == 2 }, "the question that waits")
	seen, _ := server.log()
	require.Equal(t, "modes=snapshot;wait=60", seen[1].Get("Prefer"))

	server.put(build(t, sources.Package{Files: module(denyAll("two"))}), `"2"`)
	eventually(t, func() bool { return reasons(t, engine)[0] == "two" }, "the change")
	eventually(t, func() bool { seen, _ := server.log(); return len(seen) == 3 }, "the next question")

	follower.Reload() // does not wait for the server
	eventually(t, func() bool {
		seen, _ := server.log()
		return len(seen) >= 4 && seen[3].Get("If-None-Match") == ""
	}, "the reload")
	require.Nil(t, engine.Status().Unreached)
}

func TestReloadChecksRefusedPoliciesAgain(t *testing.T) {
	folder := t.TempDir()
	save(t, folder, "data.yaml", gateless)
	save(t, folder, "some_rule.rego", denyAll("one"))
	engine := newEngine(t)
	follower := follow(t, open(t, folder, sources.Options{}), engine, nil)
	require.NoError(t, follower.Start(t.Context()))
	save(t, folder, "some_rule.rego", "package")
	require.Error(t, follower.Check(t.Context()))
	since := engine.Status().Refused.At
	follower.Reload()
	require.Error(t, follower.Check(t.Context()))
	require.EqualValues(t, 2, engine.Status().Failures)
	require.Equal(t, since, engine.Status().Refused.At, "the same refusal is told of since when it is")
}

func TestCacheServesARestartWithoutTheServer(t *testing.T) {
	key := newKeyPair(t, "ES256")
	server := &bundleServer{}
	signed := func(reason string, at time.Time) []byte {
		return build(t, sources.Package{Files: module(denyAll(reason)), Key: key.signing(t), BuiltAt: at})
	}
	server.put(signed("one", buildDay), `"1"`)
	web := httptest.NewServer(server)
	defer web.Close()
	folder := filepath.Join(t.TempDir(), "cache")
	options := sources.Options{Trust: sources.Trust{Keys: keysOf(t, key.public)}}
	start := func() (*opa.Engine, *sources.Follower, error) {
		cache, err := sources.NewCache(folder)
		require.NoError(t, err)
		engine := newEngine(t)
		follower := follow(t, open(t, web.URL+"/b.tar.gz", options), engine, cache)
		return engine, follower, follower.Start(t.Context())
	}
	first, _, err := start()
	require.NoError(t, err)
	require.Equal(t, []string{"one"}, reasons(t, first))

	// The server does not answer. Only the kept bundle is there.
	server.setDown(true)
	engine, follower, err := start()
	require.NoError(t, err)
	status := engine.Status()
	require.Equal(t, []string{"one"}, reasons(t, engine))
	require.EqualError(t, status.Unreached.Err, "the server answered 503 Service Unavailable")
	require.WithinDuration(t, first.Status().Confirmed, status.Confirmed, time.Second)

	server.setDown(false)
	require.NoError(t, follower.Check(t.Context()))
	require.Nil(t, engine.Status().Unreached)
	_, answers := server.log()
	require.Equal(t, []int{200, 503, 304}, answers, "what was kept has its ETag")

	// A bundle that is older than the kept one is refused.
	server.put(signed("older", buildDay.Add(-time.Hour)), `"0"`)
	engine, _, err = start()
	require.NoError(t, err)
	require.Equal(t, []string{"one"}, reasons(t, engine))
	require.ErrorContains(t, engine.Status().Refused.Err, "rollback")

	// A bundle that somebody puts into the folder is not trusted.
	kept, err := filepath.Glob(filepath.Join(folder, "*.tar.gz"))
	require.NoError(t, err)
	require.Len(t, kept, 1)
	require.NoError(t, os.WriteFile(kept[0], build(t, sources.Package{Files: module(allowAll)}), 0o600))
	server.setDown(true)
	engine, _, err = start()
	require.EqualError(t, err, "the server answered 503 Service Unavailable")
	require.Nil(t, engine.Current())
}

func TestRollbackNeedsAllowRollback(t *testing.T) {
	key := newKeyPair(t, "ES256")
	trust := sources.Trust{Limits: sources.DefaultLimits, Keys: keysOf(t, key.public)}
	for _, allowed := range []bool{false, true} {
		engine := opa.NewEngine(schema(t), time.Now, opa.Options{AllowRollback: allowed})
		for i, at := range []time.Time{buildDay, buildDay, buildDay.Add(-time.Nanosecond)} {
			source, err := trust.ReadBundle("x", build(t, sources.Package{Files: module(denyAll("a")), Key: key.signing(t), BuiltAt: at}))
			require.NoError(t, err)
			err = engine.Load(t.Context(), source)
			if i == 2 && !allowed {
				require.ErrorContains(t, err, "start with --allow-rollback to accept it")
			} else {
				require.NoError(t, err)
			}
		}
	}
}

func TestBundleServerCertificatesAreChecked(t *testing.T) {
	server := &bundleServer{token: "t"}
	server.put(build(t, sources.Package{Files: module(denyAll("one"))}), "")
	web := httptest.NewUnstartedServer(server)
	web.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
	web.StartTLS()
	defer web.Close()
	folder := t.TempDir()
	certificate := web.TLS.Certificates[0]
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})
	private, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	require.NoError(t, err)
	save(t, folder, "ca.pem", string(public))
	save(t, folder, "key.pem", asPEM("PRIVATE KEY", private))
	ca, key := filepath.Join(folder, "ca.pem"), filepath.Join(folder, "key.pem")
	fetch := func(options sources.Options) error {
		origin := open(t, web.URL+"/b.tar.gz", options)
		defer origin.(interface{ Close() }).Close()
		_, err := sources.Once(t.Context(), origin)
		return err
	}

	require.ErrorContains(t, fetch(sources.Options{Token: "t"}), "certificate")
	require.ErrorContains(t, fetch(sources.Options{Token: "t", CAFile: ca}), "certificate")
	require.NoError(t, fetch(sources.Options{Token: "t", CAFile: ca, CertFile: ca, KeyFile: key}))
	for says, options := range map[string]sources.Options{
		"needs both":           {CertFile: ca},
		"client certificate: ": {CertFile: ca, KeyFile: ca},
		"holds no certificate": {CAFile: key},
		"no such file":         {CAFile: folder + "/none"},
	} {
		_, err := sources.Open(web.URL, options)
		require.ErrorContains(t, err, says)
	}
}

func TestOpenRefusesWrongSpecifications(t *testing.T) {
	for specification, says := range map[string]string{
		"":                          "no source",
		"ftp://example.com/b":       "the scheme is none of",
		"https://":                  "no URL",
		"https://u:hunter2@x/b":     "credentials do not belong",
		"http://example.com/b":      "a token must not go over http",
		"oci://example.com/x":       "a tag or a digest is missing",
		"oci://exa mple.com/x:1":    "invalid",
		"oci://example.com/X_Y:tag": "invalid",
	} {
		_, err := sources.Open(specification, sources.Options{Token: "t"})
		require.ErrorContains(t, err, says, specification)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func TestRedirectMustNotLeaveTLS(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	web := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	defer web.Close()
	folder := t.TempDir()
	save(t, folder, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})))
	origin := open(t, web.URL, sources.Options{CAFile: filepath.Join(folder, "ca.pem")})
	defer origin.(interface{ Close() }).Close()
	_, err := sources.Once(t.Context(), origin)
	require.ErrorContains(t, err, "a redirect from https to http")
}
