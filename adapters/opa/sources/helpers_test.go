package sources_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/adapters/opa/sources"
	"github.com/molecule-ai/gatehouse/policies"
	"github.com/molecule-ai/gatehouse/server/admission"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

const header = "package admission.register\n\n"

const metadata = "# METADATA\n# title: A title\n# description: A description.\n# custom: {code: SOME_CODE, severity: high, status: 400}\n"

// denyAll denies every request, with this reason.
func denyAll(reason string) string {
	return header + metadata + `deny contains {"reason": "` + reason + `", "message": "m"}` + "\n"
}

// allowAll has a rule that never fires.
const allowAll = header + metadata + "deny contains {\"reason\": \"r\", \"message\": \"m\"} if input.request.never\n"

// gateless says that policies go without the platform agent's rule on purpose.
const gateless = "allow_weaker: [PLATFORM_AGENT_IDENTITY_GATE]\n"

func module(text string) map[string][]byte {
	return map[string][]byte{"register/some_rule.rego": []byte(text), "data.yaml": []byte(gateless)}
}

// gateModules hold the platform agent's rule without any data.
var gateModules = map[string]string{
	"register/gate.rego":  "package admission.register\n\nimport data.admission.lib\n\ndeny contains violation if some violation in lib.identity\n",
	"heartbeat/gate.rego": "package admission.heartbeat\n\nimport data.admission.lib\n\ndeny contains violation if some violation in lib.identity\n",
	"lib/identity.rego": `package admission.lib

# METADATA
# scope: document
# title: A title
# description: A description.
# custom: {code: PLATFORM_AGENT_IDENTITY_GATE, severity: critical, status: 400, mark_failed: true}
identity contains {"reason": "model_missing", "message": "m"} if {
	platform
	not has_model
}

identity contains {"reason": "mcp_server_missing", "message": "m"} if {
	platform
	input.request.mcp_server_present == false
}

platform if input.request.kind == "platform"

platform if input.facts.workspace.kind == "platform"

has_model if "MODEL" in input.facts.secret_keys
`,
}

// withoutGate lets policies of an archive go without the platform agent's rule.
func withoutGate(t testing.TB, source snapshot.Source) snapshot.Source {
	t.Helper()
	data, err := fs.ReadFile(source.FS, "data.yaml")
	if !errors.Is(err, fs.ErrNotExist) {
		require.NoError(t, err)
	}
	source.FS.(fstest.MapFS)["data.yaml"] = &fstest.MapFile{Data: append(data, gateless...)}
	return source
}

var buildDay = time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC)

func build(t testing.TB, p sources.Package) []byte {
	t.Helper()
	if p.BuiltAt.IsZero() {
		p.BuiltAt = buildDay
	}
	var archive bytes.Buffer
	require.NoError(t, p.Build(&archive))
	return archive.Bytes()
}

func packed(t testing.TB, files map[string][]byte) []byte {
	t.Helper()
	var archive bytes.Buffer
	require.NoError(t, sources.Pack(&archive, files, buildDay))
	return archive.Bytes()
}

// entries writes an archive with unusual headers, as an attacker might.
func entries(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	return archiveOf(t, gzip.DefaultCompression, headers...)
}

func archiveOf(t testing.TB, level int, headers ...tar.Header) []byte {
	t.Helper()
	var archive bytes.Buffer
	zipped, err := gzip.NewWriterLevel(&archive, level)
	require.NoError(t, err)
	writer := tar.NewWriter(zipped)
	for _, entry := range headers {
		var content []byte
		if entry.Typeflag != tar.TypeXGlobalHeader {
			content = []byte(entry.PAXRecords["content"])
			entry.PAXRecords = nil
			entry.Size = int64(len(content))
		}
		require.NoError(t, writer.WriteHeader(&entry))
		_, err := writer.Write(content)
		require.NoError(t, err)
	}
	require.NoError(t, writer.Close())
	require.NoError(t, zipped.Close())
	return archive.Bytes()
}

// entry is a file. Its content is in the header's records until it is written.
func entry(name, content string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, PAXRecords: map[string]string{"content": content}}
}

// keyPair is a private key as PEM, and its public half.
type keyPair struct{ private, public string }

func newKeyPair(t testing.TB, kind string) keyPair {
	t.Helper()
	var signer crypto.Signer
	var err error
	switch kind {
	case "RS256":
		signer, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ES256":
		signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		signer, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		signer, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA":
		_, signer, err = ed25519.GenerateKey(rand.Reader)
	}
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(signer)
	require.NoError(t, err)
	public, err := x509.MarshalPKIXPublicKey(signer.Public())
	require.NoError(t, err)
	return keyPair{asPEM("PRIVATE KEY", private), asPEM("PUBLIC KEY", public)}
}

func asPEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func (k keyPair) signing(t testing.TB) *sources.SigningKey {
	t.Helper()
	key, err := sources.ReadSigningKey(k.private)
	require.NoError(t, err)
	return &key
}

func (k keyPair) key(t testing.TB) sources.Key { return keysOf(t, k.public).Now()[0] }

func keysOf(t testing.TB, texts ...string) sources.Keys {
	t.Helper()
	keys, err := sources.ReadKeys(texts, nil)
	require.NoError(t, err)
	return keys
}

func jsonOf(t testing.TB, value any) []byte {
	t.Helper()
	text, err := json.Marshal(value)
	require.NoError(t, err)
	return text
}

func schema(t testing.TB) []byte {
	t.Helper()
	text, err := fs.ReadFile(policies.FS, "input.schema.json")
	require.NoError(t, err)
	return text
}

func newEngine(t testing.TB) *opa.Engine {
	t.Helper()
	return opa.NewEngine(schema(t), time.Now, opa.Options{})
}

// reasons are those of the violations that the live policies find.
func reasons(t testing.TB, engine *opa.Engine) []string {
	t.Helper()
	ruleset := engine.Current()
	require.NotNil(t, ruleset)
	facts, err := admission.NewFacts(false, nil, nil, nil)
	require.NoError(t, err)
	input := admission.Input{Hook: "register", CallerProof: admission.Token, Request: []byte("{}"), Facts: facts}
	verdict, err := ruleset.Evaluate(t.Context(), input, time.Now())
	require.NoError(t, err)
	var found []string
	for _, violation := range verdict.Violations {
		found = append(found, violation.Reason)
	}
	return found
}

func open(t testing.TB, specification string, options sources.Options) sources.Origin {
	t.Helper()
	origin, err := sources.Open(specification, options)
	require.NoError(t, err)
	return origin
}

func follow(t testing.TB, origin sources.Origin, engine *opa.Engine, cache *sources.Cache) *sources.Follower {
	t.Helper()
	if remote, isRemote := origin.(interface{ Close() }); isRemote {
		t.Cleanup(remote.Close)
	}
	return sources.NewFollower(origin, engine, cache, slog.New(slog.DiscardHandler))
}

// runs lets the follower run until the test ends.
func runs(t testing.TB, follower *sources.Follower) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { follower.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

// bundleServer serves a bundle with an ETag, as a server of OPA's bundles does.
type bundleServer struct {
	mu       sync.Mutex
	archive  []byte
	etag     string
	changed  chan struct{}
	down     bool
	longPoll bool
	token    string
	seen     []http.Header
	answers  []int
}

func (s *bundleServer) put(archive []byte, etag string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.archive, s.etag = archive, etag
	if s.changed != nil {
		close(s.changed)
	}
	s.changed = make(chan struct{})
}

func (s *bundleServer) setDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

func (s *bundleServer) log() ([]http.Header, []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen, s.answers
}

func (s *bundleServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, r.Header.Clone())
	if s.longPoll && !s.down && r.Header.Get("If-None-Match") == s.etag {
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-r.Context().Done():
		}
		s.mu.Lock()
	}
	status := http.StatusOK
	switch {
	case s.down:
		status = http.StatusServiceUnavailable
	case s.token != "" && r.Header.Get("Authorization") != "Bearer "+s.token:
		status = http.StatusUnauthorized
	case s.etag != "" && r.Header.Get("If-None-Match") == s.etag:
		status = http.StatusNotModified
	}
	s.answers = append(s.answers, status)
	if s.longPoll {
		w.Header().Set("Content-Type", "application/vnd.openpolicyagent.bundles")
	}
	if s.etag != "" {
		w.Header().Set("ETag", s.etag)
	}
	w.WriteHeader(status)
	if status == http.StatusOK {
		_, _ = w.Write(s.archive)
	}
}
