package sources_test

import (
	"context"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/file"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/molecule-ai/gatehouse/adapters/opa/sources"
)

// ociRegistry is a real registry, which may ask for credentials. It keeps its requests.
type ociRegistry struct {
	*httptest.Server

	user string // "" for anybody

	mu    sync.Mutex
	asked []string
}

func startRegistry(t *testing.T, user string) *ociRegistry {
	t.Helper()
	r := &ociRegistry{user: user}
	images := registry.New(registry.Logger(log.New(testWriter{t}, "", 0)))
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.mu.Lock()
		r.asked = append(r.asked, request.Method+" "+request.URL.Path)
		r.mu.Unlock()
		user, password, _ := request.BasicAuth()
		if r.user != "" && user+":"+password != r.user {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		images.ServeHTTP(w, request)
	}))
	t.Cleanup(r.Close)
	return r
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Helper()
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func (r *ociRegistry) log() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.asked)
}

func (r *ociRegistry) specification(reference string) string {
	return "oci://" + r.Listener.Addr().String() + "/team/policies" + reference
}

func (r *ociRegistry) repository(t *testing.T) *remote.Repository {
	t.Helper()
	repository, err := remote.NewRepository(r.Listener.Addr().String() + "/team/policies")
	require.NoError(t, err)
	repository.PlainHTTP = true
	user, password, _ := strings.Cut(r.user, ":")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	repository.Client = &auth.Client{Client: client, Credential: auth.StaticCredential(
		repository.Reference.Registry, auth.Credential{Username: user, Password: password})}
	return repository
}

// push makes an image of layers, as oras push does, and gives it a tag if there is one.
func (r *ociRegistry) push(t *testing.T, tag string, layers ...layer) ocispec.Descriptor {
	t.Helper()
	repository := r.repository(t)
	descriptors := make([]ocispec.Descriptor, len(layers))
	for i, layer := range layers {
		descriptors[i] = layer.push(t, repository)
	}
	manifest, err := oras.PackManifest(t.Context(), repository, oras.PackManifestVersion1_1, "application/vnd.unknown.artifact.v1",
		oras.PackManifestOptions{Layers: descriptors})
	require.NoError(t, err)
	if tag != "" {
		require.NoError(t, repository.Tag(t.Context(), manifest, tag))
	}
	return manifest
}

// layer is a file that is pushed with a media type: "" for that of a plain oras push.
type layer struct {
	mediaType string
	path      string
}

func (l layer) push(t *testing.T, to content.Pusher) ocispec.Descriptor {
	t.Helper()
	store, err := file.New(t.TempDir())
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	mediaType := l.mediaType
	if mediaType == "" && !isFolder(t, l.path) {
		mediaType = ocispec.MediaTypeImageLayer // as the oras command has it
	}
	descriptor, err := store.Add(t.Context(), filepath.Base(l.path), mediaType, l.path)
	require.NoError(t, err)
	body, err := store.Fetch(t.Context(), descriptor)
	require.NoError(t, err)
	defer func() { _ = body.Close() }() // closed already if it was sent as it is
	err = to.Push(t.Context(), descriptor, body)
	require.NoError(t, err)
	return descriptor
}

func isFolder(t *testing.T, path string) bool {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.IsDir()
}

func bundleIn(t *testing.T, reason string) string {
	t.Helper()
	return fileOf(t, "policies.tar.gz", build(t, sources.Package{Files: module(denyAll(reason))}))
}

func fileOf(t *testing.T, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, text, 0o600))
	return path
}

// pushIndex makes an index of images.
func (r *ociRegistry) pushIndex(t *testing.T, tag string, images ...ocispec.Descriptor) ocispec.Descriptor {
	t.Helper()
	index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: images}
	index.SchemaVersion = 2
	text := jsonOf(t, index)
	descriptor := content.NewDescriptorFromBytes(ocispec.MediaTypeImageIndex, text)
	err := r.repository(t).Manifests().PushReference(context.Background(), descriptor, strings.NewReader(string(text)), tag)
	require.NoError(t, err)
	return descriptor
}

func on(image ocispec.Descriptor, system, architecture string) ocispec.Descriptor {
	image.Platform = &ocispec.Platform{OS: system, Architecture: architecture}
	return image
}

const gzipped = ocispec.MediaTypeImageLayerGzip

func TestRegistryBundleIsFollowed(t *testing.T) {
	registry := startRegistry(t, "gate:secret")
	registry.push(t, "live", layer{gzipped, bundleIn(t, "one")})
	specification := registry.specification(":live")
	engine := newEngine(t)

	stranger := follow(t, open(t, specification, sources.Options{}), engine, nil)
	require.ErrorContains(t, stranger.Start(t.Context()), "asking for the manifest")

	cache, err := sources.NewCache(t.TempDir())
	require.NoError(t, err)
	follower := follow(t, open(t, specification, sources.Options{Token: "gate:secret"}), engine, cache)
	require.NoError(t, follower.Start(t.Context()))
	require.Equal(t, []string{"one"}, reasons(t, engine))
	require.Equal(t, specification, engine.Status().Snapshot.Source())

	asked := len(registry.log())
	require.NoError(t, follower.Check(t.Context()))
	require.Equal(t, []string{"GET /v2/team/policies/manifests/live"}, registry.log()[asked:], "the layer is known")

	registry.push(t, "live", layer{gzipped, bundleIn(t, "two")})
	require.NoError(t, follower.Check(t.Context()))
	require.Equal(t, []string{"two"}, reasons(t, engine))

	registry.Close()
	engine = newEngine(t)
	follower = follow(t, open(t, specification, sources.Options{Token: "gate:secret"}), engine, cache)
	require.NoError(t, follower.Start(t.Context()))
	require.Equal(t, []string{"two"}, reasons(t, engine), "as it was kept")
}

// A plain oras push calls what is in a file a tar, and what is in a folder a gzipped one: the only layer is the bundle.
func TestRegistryBundleOfAPlainOrasPushIsTaken(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "policies")
	for name, text := range gateModules {
		save(t, folder, name, text)
	}
	save(t, folder, "register/some_rule.rego", denyAll("folder"))
	for reason, pushed := range map[string]layer{
		"plain":  {"", bundleIn(t, "plain")},
		"docker": {"application/vnd.docker.image.rootfs.diff.tar.gzip", bundleIn(t, "docker")},
		"bytes":  {"application/octet-stream", bundleIn(t, "bytes")},
		"folder": {"", folder},
	} {
		registry := startRegistry(t, "")
		registry.push(t, "live", pushed)
		engine := newEngine(t)
		follower := follow(t, open(t, registry.specification(":live"), sources.Options{}), engine, nil)
		require.NoError(t, follower.Start(t.Context()), reason)
		require.Equal(t, []string{reason}, reasons(t, engine))
		require.NoError(t, follower.Check(t.Context()))
		require.Zero(t, engine.Status().Failures)
	}
}

// An image without a bundle is refused once. The error names the layers and the right command. The live policies stay.
func TestImagesWithoutABundleAreRefused(t *testing.T) {
	text, bundle := fileOf(t, "readme.txt", []byte("hello")), bundleIn(t, "one")
	folder := filepath.Join(t.TempDir(), "policies")
	save(t, folder, "register/some_rule.rego", denyAll("folder"))
	save(t, folder, "data.yaml", "a: 1")
	registry := startRegistry(t, "")
	command := "oras push " + registry.Listener.Addr().String() + "/team/policies:live policies.tar.gz:application/vnd.oci.image.layer.v1.tar+gzip"
	registry.push(t, "live", layer{gzipped, bundle})
	engine := newEngine(t)
	follower := follow(t, open(t, registry.specification(":live"), sources.Options{}), engine, nil)
	require.NoError(t, follower.Start(t.Context()))

	for name, test := range map[string]struct {
		layers []layer
		says   []string
	}{
		"a text": {[]layer{{"text/plain", text}}, []string{"no layer of type application/vnd.oci.image.layer.v1.tar+gzip", "but text/plain; push", command}},
		"two files": {[]layer{{"", bundle}, {"text/plain", text}},
			[]string{"but application/vnd.oci.image.layer.v1.tar, text/plain; push", command}},
		"several gzipped layers": {[]layer{{gzipped, bundle}, {gzipped, bundleIn(t, "two")}},
			[]string{"the image has 2 different layers of type", "a bundle is one", command}},
		"a folder with data": {[]layer{{"", folder}}, []string{`all of the bundle lies in the folder "policies"`, "tar -C policies"}},
	} {
		t.Run(name, func(t *testing.T) {
			before := engine.Status().Failures
			registry.push(t, "live", test.layers...)
			err := follower.Check(t.Context())
			for _, says := range test.says {
				require.ErrorContains(t, err, says)
			}
			require.Equal(t, []string{"one"}, reasons(t, engine))
			require.ErrorContains(t, engine.Status().Refused.Err, test.says[0])
			require.Nil(t, engine.Status().Unreached, "the registry did answer")

			require.NoError(t, follower.Check(t.Context()), "the same again is no news")
			require.Equal(t, before+1, engine.Status().Failures)
		})
	}
}

// The images of an index may all have the same bundle, and there may be attestations. Different bundles are refused.
func TestRegistryBundleIsFoundThroughAnIndex(t *testing.T) {
	registry := startRegistry(t, "")
	one, two := bundleIn(t, "one"), bundleIn(t, "two")
	attested := registry.push(t, "", layer{"application/vnd.in-toto+json", fileOf(t, "a.json", []byte("{}"))})
	first, second := registry.push(t, "", layer{gzipped, one}), registry.push(t, "", layer{gzipped, two})
	plain := registry.push(t, "", layer{"", one})
	// Another image of the same layer.
	again := registry.push(t, "", layer{gzipped, one}, layer{"text/plain", fileOf(t, "note.txt", []byte("x"))})

	for name, test := range map[string]struct {
		images []ocispec.Descriptor
		says   string // "" where "one" is live
	}{
		"one image":                  {[]ocispec.Descriptor{first}, ""},
		"with attestations":          {[]ocispec.Descriptor{on(first, "linux", "amd64"), on(attested, "unknown", "unknown")}, ""},
		"one bundle, two platforms":  {[]ocispec.Descriptor{on(first, "linux", "amd64"), on(again, "linux", "arm64")}, ""},
		"a plain push":               {[]ocispec.Descriptor{plain}, ""},
		"two bundles, two platforms": {[]ocispec.Descriptor{on(first, "linux", "amd64"), on(second, "linux", "arm64")}, "name one image of an index by its digest"},
		"attestations alone":         {[]ocispec.Descriptor{on(attested, "unknown", "unknown")}, "but no layer at all"},
		"nothing":                    {[]ocispec.Descriptor{}, "but no layer at all"},
	} {
		t.Run(name, func(t *testing.T) {
			index := registry.pushIndex(t, "live", test.images...)
			outer := registry.pushIndex(t, "outer", index)
			for _, reference := range []string{":live", ":outer", "@" + outer.Digest.String()} {
				engine := newEngine(t)
				follower := follow(t, open(t, registry.specification(reference), sources.Options{}), engine, nil)
				err := follower.Start(t.Context())
				if test.says != "" {
					require.ErrorContains(t, err, test.says)
					continue
				}
				require.NoError(t, err)
				require.Equal(t, []string{"one"}, reasons(t, engine))
				confirmed := engine.Status().Confirmed
				require.NoError(t, follower.Check(t.Context()))
				require.True(t, engine.Status().Confirmed.After(confirmed))
			}
		})
	}
}

// The number of manifests that an index leads to is bounded.
func TestRegistryIndexIsBounded(t *testing.T) {
	registry := startRegistry(t, "")
	images := make([]ocispec.Descriptor, 65)
	for i := range images {
		images[i] = registry.push(t, "", layer{"text/plain", fileOf(t, "n", []byte{byte(i)})})
	}
	registry.pushIndex(t, "live", images...)
	origin := open(t, registry.specification(":live"), sources.Options{})
	defer origin.(interface{ Close() }).Close()
	_, err := sources.Once(t.Context(), origin)
	require.ErrorContains(t, err, "the index leads to more than 64 manifests")
}
