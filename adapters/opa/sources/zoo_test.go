package sources_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/adapters/opa/check"
	"github.com/molecule-ai/gatehouse/adapters/opa/sources"
)

type animal struct {
	archive []byte
	says    string
}

// zoo has bundles that must be refused where key is configured and the bundle good is live.
func zoo(t *testing.T, key, stranger keyPair) map[string]animal {
	signed := func(files map[string][]byte) []byte {
		return build(t, sources.Package{Files: files, Key: key.signing(t), BuiltAt: buildDay.Add(time.Hour)})
	}
	with := func(more ...string) map[string][]byte {
		files := module(denyAll("zoo"))
		for i := 0; i < len(more); i += 2 {
			files[more[i]] = []byte(more[i+1])
		}
		return files
	}
	const test = "package admission.register_test\n\nimport data.admission.register\n\n"
	cases := "cases:\n- name: is allowed\n  review: {workspace: {id: 01890a5d-ac96-774b-bcce-b302099a8057}}\n  expect: {allowed: true}\n"
	return map[string]animal{
		"a syntax error":       {signed(module(header + "deny contains")), "register/some_rule.rego:3: rego_parse_error"},
		"a type error":         {signed(module(header + metadata + "deny contains {\"reason\": \"r\", \"message\": \"m\"} if input.reqest.kind\n")), "undefined ref: input.reqest.kind"},
		"no entrypoint":        {signed(module("package admission.lib\n\na := 1\n")), "no hook: no package admission.<hook> defines deny"},
		"no policies":          {signed(map[string][]byte{"README.md": []byte("hello")}), "no Rego files"},
		"another shape":        {signed(module(header + metadata + "deny contains \"no\"\n")), "an entry is no object"},
		"a forbidden builtin":  {signed(module(header + metadata + "deny contains {\"reason\": \"r\", \"message\": \"m\"} if http.send({\"method\": \"get\", \"url\": \"http://x\"}).status_code == 200\n")), "undefined function http.send"},
		"no signature":         {build(t, sources.Package{Files: with()}), "the bundle is not signed, and a key is configured"},
		"another key":          {build(t, sources.Package{Files: with(), Key: stranger.signing(t)}), "is by none of the configured keys"},
		"another kind of key":  {build(t, sources.Package{Files: with(), Key: newKeyPair(t, "EdDSA").signing(t)}), "the bundle's signature (EdDSA) is by none of the configured keys"},
		"a shared secret":      {forged(t, with(), `{"alg":"HS256"}`), "the bundle's signature (HS256) is by none of the configured keys"},
		"no algorithm":         {forged(t, with(), `{"alg":"none"}`), "the bundle's signature (none) is by none of the configured keys"},
		"a token of nonsense":  {packed(t, with(".signatures.json", `{"signatures": ["nonsense"]}`)), "is no JWT"},
		"a tampered file":      {tampered(t, signed(with()), with("register/some_rule.rego", allowAll)), "register/some_rule.rego: digest mismatch"},
		"a tampered manifest":  {tampered(t, signed(with()), with(".manifest", `{"revision": "", "metadata": {"gatehouse": {"built_at": "2026-12-01T00:00:00Z"}}}`)), ".manifest: digest mismatch"},
		"a file too many":      {tampered(t, signed(with()), with("lib/more.rego", "package admission.lib\n\nmore := 1\n")), "file lib/more.rego not included in bundle signature"},
		"a file too few":       {signedWithout(t, signed(with("data.yaml", "a: 1")), "data.yaml"), "specified in bundle signatures but not found"},
		"an older revision":    {build(t, sources.Package{Files: with(), Key: key.signing(t), BuiltAt: buildDay.Add(-time.Second)}), "rollback: the bundle was built at 2026-04-01T11:59:59Z, before the one that was live last (2026-04-01T12:00:00Z, revision v1, signed by "},
		"the future":           {build(t, sources.Package{Files: with(), Key: key.signing(t), BuiltAt: time.Now().AddDate(1, 0, 0)}), "which is in the future"},
		"no time":              {undated(t, key, with()), "rollback: the bundle does not say when it was built"},
		"a zip bomb":           {archiveOf(t, gzip.BestSpeed, entry("data.json", `"`+strings.Repeat("0", 40<<20)+`"`)), "the bundle holds more than 33554432 bytes when it is unpacked"},
		"a bomb of headers":    {headers(t, 10_001), "the bundle holds more than 10000 files"},
		"50 MB of data":        {archiveOf(t, gzip.NoCompression, entry("data.json", `{"a": "`+strings.Repeat("b", 50_000_000)+`"}`)), "the bundle holds more than 33554432 bytes when it is unpacked"},
		"path traversal":       {entries(t, entry("../../etc/some_rule.rego", denyAll("r"))), `a file "../../etc/some_rule.rego", whose path leads out of it`},
		"traversal in between": {entries(t, entry("a/../../b.rego", denyAll("r"))), "whose path leads out of it"},
		"a link":               {entries(t, tar.Header{Typeflag: tar.TypeSymlink, Name: "data.json", Linkname: "/etc/passwd"}), `"data.json", which is no regular file`},
		"one name twice":       {entries(t, entry("a.rego", denyAll("a")), entry("/a.rego", allowAll)), `the bundle holds "a.rego" twice`},
		"a delta":              {packed(t, with("patch.json", `{"data": []}`)), "a delta bundle, which cannot be signed"},
		"compiled policies":    {packed(t, with("policy.wasm", "x")), "policies must be Rego"},
		"optimized policies":   {packed(t, with("optimized/partial.rego", "package partial\n\n__not1_0_1__ if {\n\tdata.admission.lib.x = _term_1_0\n\t_term_1_0\n}\n")), "optimized/partial.rego: optimized bundles are not supported"},
		"optimized rules":      {packed(t, with("optimized/admission/register.rego", "package admission.register\n\ndeny contains __local165__1 if {\n\tdata.admission.lib.platform_requires_model[__local164__1] = __local165__1\n}\n")), "optimized bundles are not supported"},
		"hidden rules":         {packed(t, with(".extra/x.rego", allowAll)), ".extra: is hidden, so x.rego in it would not be loaded"},
		"a shadow of macOS":    {packed(t, with("register/._some_rule.rego", "\x00\x05\x16\x07")), "register/._some_rule.rego: is hidden, so it would not be loaded"},
		"a copy of rules":      {packed(t, with("register/some_rule.rego.bak", allowAll)), "register/some_rule.rego.bak: would not be loaded"},
		"values nobody reads":  {signed(with("limits.yaml", "max: 3")), "limits.yaml: nothing reads it"},
		"a second manifest":    {packed(t, with("lib/.manifest", "{}")), "the bundle holds lib/.manifest"},
		"a failing test":       {signed(with("register/some_test.rego", test+"test_it if count(register.deny) == 0\n")), "the policies' own tests fail: data.admission.register_test.test_it"},
		"a failing case":       {signed(with("cases.yaml", cases)), "the policies' own tests fail: cases.yaml: is allowed"},
		"a case of nonsense":   {signed(with("cases.yaml", "cases: [{nme: x}]")), "the policies' own tests: cases.yaml"},
		"old Rego":             {packedManifest(t, key, with(), `{"rego_version": 0}`), "rego_parse_error"},
		"no archive":           {[]byte("<html>login</html>"), "no gzipped archive"},
		"half an archive":      {signed(with())[:200], "unexpected EOF"},
		"nothing":              {nil, "no gzipped archive"},
	}
}

func TestZooOfBundlesIsRefused(t *testing.T) {
	key, stranger := newKeyPair(t, "ES256"), newKeyPair(t, "ES256")
	good := build(t, sources.Package{Files: module(denyAll("good")), Revision: "v1", Key: key.signing(t)})
	server := &bundleServer{}
	server.put(good, "")
	web := httptest.NewServer(server)
	defer web.Close()
	recorder := &recorder{}
	engine := opa.NewEngine(schema(t), time.Now, opa.Options{Recorder: recorder})
	origin := open(t, web.URL+"/bundle.tar.gz", sources.Options{Trust: sources.Trust{Keys: keysOf(t, key.public)}})
	follower := follow(t, origin, engine, nil)
	require.NoError(t, follower.Start(t.Context()))

	for name, animal := range zoo(t, key, stranger) {
		t.Run(name, func(t *testing.T) {
			before := engine.Status()
			heard := len(recorder.refused)
			server.put(animal.archive, "")
			err := follower.Check(t.Context())
			require.ErrorContains(t, err, animal.says)
			require.Less(t, len(err.Error()), 2000)

			status := engine.Status()
			require.Same(t, before.Snapshot, status.Snapshot)
			require.Equal(t, before.Failures+1, status.Failures)
			require.Equal(t, origin.Name(), status.Refused.Source)
			require.ErrorContains(t, status.Refused.Err, animal.says)
			require.Equal(t, []string{"good"}, reasons(t, engine))
			require.Len(t, recorder.refused, heard+1)

			require.NoError(t, follower.Check(t.Context()), "the same again is neither news nor work")
			require.Equal(t, status.Failures, engine.Status().Failures)
			require.Equal(t, before.Confirmed, engine.Status().Confirmed, "what is live is not what the source has")

			server.put(good, "")
			require.NoError(t, follower.Check(t.Context()))
			require.Nil(t, engine.Status().Refused)
		})
	}
}

// filesOf gives the files of an archive.
func filesOf(t *testing.T, archive []byte) map[string][]byte {
	t.Helper()
	files, err := sources.Unpack(archive, sources.DefaultLimits)
	require.NoError(t, err)
	return files
}

// tampered keeps the signature and changes files.
func tampered(t *testing.T, archive []byte, files map[string][]byte) []byte {
	changed := filesOf(t, archive)
	for name, content := range files {
		changed[name] = content
	}
	return packed(t, changed)
}

func signedWithout(t *testing.T, archive []byte, name string) []byte {
	files := filesOf(t, archive)
	delete(files, name)
	return packed(t, files)
}

// forged has a signature whose header chooses how it is verified.
func forged(t *testing.T, files map[string][]byte, header string) []byte {
	token := fmt.Sprintf("%s.%s.%s", encoded(header), encoded(`{"files":[]}`), encoded("x"))
	text, err := json.Marshal(map[string][]string{"signatures": {token}})
	require.NoError(t, err)
	files[".signatures.json"] = text
	return packed(t, files)
}

// undated is signed with the key, and does not say when it was built.
func undated(t *testing.T, key keyPair, files map[string][]byte) []byte {
	return packedManifest(t, key, files, `{"revision": "v2"}`)
}

func packedManifest(t *testing.T, key keyPair, files map[string][]byte, manifest string) []byte {
	files[".manifest"] = []byte(manifest)
	text, err := key.signing(t).SignFiles(files)
	require.NoError(t, err)
	files[".signatures.json"] = text
	return packed(t, files)
}

func headers(t *testing.T, n int) []byte {
	all := make([]tar.Header, n)
	for i := range all {
		all[i] = entry(fmt.Sprintf("%d.rego", i), "")
	}
	archive := entries(t, all...)
	require.Less(t, len(archive), 2<<20)
	return archive
}

func TestArchiveOfPaddingIsBounded(t *testing.T) {
	folders := make([]tar.Header, 5_000)
	for i := range folders {
		folders[i] = tar.Header{Typeflag: tar.TypeDir, Name: fmt.Sprintf("%d/", i), Mode: 0o755}
	}
	trust := sources.Trust{Limits: check.Limits{Bytes: 1 << 20, Files: 10}}
	_, err := trust.ReadBundle("x", entries(t, folders...))
	require.ErrorContains(t, err, "the bundle holds more than 1048576 bytes when it is unpacked")
}

func TestSignaturesAreIgnoredWithoutKeys(t *testing.T) {
	key := newKeyPair(t, "ES256")
	for name, archive := range map[string][]byte{
		"unsigned": build(t, sources.Package{Files: module(denyAll("a")), Revision: "v1"}),
		"signed":   build(t, sources.Package{Files: module(denyAll("a")), Revision: "v1", Key: key.signing(t)}),
		"opa's names, with a slash": entries(t, entry("/register/a.rego", denyAll("a")), entry("/.manifest", `{"revision": "v1"}`),
			entry("/data.json", `{"allow_weaker": ["PLATFORM_AGENT_IDENTITY_GATE"]}`)),
	} {
		source, err := sources.Trust{Limits: sources.DefaultLimits}.ReadBundle(name, archive)
		require.NoError(t, err, name)
		require.Equal(t, "v1", source.Bundle.Revision)
		require.Empty(t, source.Bundle.SignedBy)
		engine := newEngine(t)
		require.NoError(t, engine.Load(t.Context(), source))
		require.Equal(t, []string{"a"}, reasons(t, engine))
	}
}

func TestBundlesOfOtherRootsAreRefused(t *testing.T) {
	archive := packed(t, map[string][]byte{"a.rego": []byte(denyAll("a")), ".manifest": []byte(`{"roots": ["other"]}`)})
	_, err := sources.Trust{Limits: sources.DefaultLimits}.ReadBundle("x", archive)
	require.ErrorContains(t, err, "manifest roots [other] do not permit")
}

func TestBundlesOfOldRegoAreRefused(t *testing.T) {
	files := module(denyAll("a"))
	files[".manifest"] = []byte(`{"file_rego_versions": {"/register/some_rule.rego": 1}}`)
	_, err := sources.Trust{Limits: sources.DefaultLimits}.ReadBundle("x", packed(t, files))
	require.ErrorContains(t, err, "another version of Rego than 1")
}

func TestBuildIsReproducible(t *testing.T) {
	files := module(denyAll("a"))
	require.True(t, bytes.Equal(build(t, sources.Package{Files: files}), build(t, sources.Package{Files: files})))
}
