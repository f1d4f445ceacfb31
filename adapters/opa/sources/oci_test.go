package sources_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"gatehouse/adapters/opa/sources"
)

// ociRegistry serves one image, as `oras push` and `opa` leave it in a registry.
type ociRegistry struct {
	mu       sync.Mutex
	manifest []byte
	blobs    map[string][]byte
	asked    []string
	user     string
}

func (r *ociRegistry) put(t *testing.T, mediaType string, archive []byte) {
	t.Helper()
	digest := func(content []byte) string {
		sum := sha256.Sum256(content)
		return "sha256:" + hex.EncodeToString(sum[:])
	}
	layer := map[string]any{"mediaType": mediaType, "digest": digest(archive), "size": len(archive)}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "layers": []any{layer},
		"config": map[string]any{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest([]byte("{}")), "size": 2},
	})
	require.NoError(t, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.manifest, r.blobs = manifest, map[string][]byte{digest(archive): archive}
}

func (r *ociRegistry) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, request.URL.Path)
	user, password, _ := request.BasicAuth()
	if r.user != "" && user+":"+password != r.user {
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	blob, found := r.blobs[request.URL.Path[strings.LastIndex(request.URL.Path, "/")+1:]]
	switch {
	case request.URL.Path == "/v2/team/policies/manifests/live":
		sum := sha256.Sum256(r.manifest)
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		w.Header().Set("Docker-Content-Digest", "sha256:"+hex.EncodeToString(sum[:]))
		_, _ = w.Write(r.manifest)
	case strings.HasPrefix(request.URL.Path, "/v2/team/policies/blobs/") && found:
		_, _ = w.Write(blob)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func TestABundleComesFromARegistry(t *testing.T) {
	registry := &ociRegistry{user: "gate:secret"}
	registry.put(t, ocispec.MediaTypeImageLayerGzip, build(t, sources.Package{Files: module(denyAll("one"))}))
	web := httptest.NewServer(registry)
	defer web.Close()
	specification := "oci://" + strings.TrimPrefix(web.URL, "http://") + "/team/policies:live"
	engine := newEngine(t)

	stranger := follow(t, open(t, specification, sources.Options{}), engine, nil)
	require.ErrorContains(t, stranger.Start(t.Context()), "asking for the manifest")

	cache, err := sources.NewCache(t.TempDir())
	require.NoError(t, err)
	follower := follow(t, open(t, specification, sources.Options{Token: "gate:secret"}), engine, cache)
	require.NoError(t, follower.Start(t.Context()))
	require.Equal(t, []string{"one"}, reasons(t, engine))
	require.Equal(t, specification, engine.Status().Snapshot.Source())

	asked := len(registry.asked)
	require.NoError(t, follower.Check(t.Context()))
	require.Equal(t, []string{"/v2/team/policies/manifests/live"}, registry.asked[asked:], "the layer is known")

	registry.put(t, ocispec.MediaTypeImageLayerGzip, build(t, sources.Package{Files: module(denyAll("two"))}))
	require.NoError(t, follower.Check(t.Context()))
	require.Equal(t, []string{"two"}, reasons(t, engine))

	registry.put(t, "text/plain", []byte("x"))
	require.ErrorContains(t, follower.Check(t.Context()), "the image has no layer of type")
	require.Equal(t, []string{"two"}, reasons(t, engine))

	web.Close()
	engine = newEngine(t)
	follower = follow(t, open(t, specification, sources.Options{Token: "gate:secret"}), engine, cache)
	require.NoError(t, follower.Start(t.Context()))
	require.Equal(t, []string{"two"}, reasons(t, engine), "as it was kept")
}
