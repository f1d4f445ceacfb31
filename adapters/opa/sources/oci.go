package sources

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// ociBundle is a bundle in a registry of OCI images, as OPA keeps them there: the first gzipped layer. OPA's own
// downloader is not used: it copies every version to the disk and bounds neither it nor what it unpacks.
type ociBundle struct {
	name       string
	options    Options
	client     *http.Client
	repository *remote.Repository
}

// maxManifestBytes is what registries take for a manifest.
const maxManifestBytes = 4 << 20

func newOCI(specification, reference string, options Options) (Origin, error) {
	repository, err := remote.NewRepository(reference)
	if err != nil {
		return nil, fmt.Errorf("policies from %s: %w", specification, err)
	}
	if repository.Reference.Reference == "" {
		return nil, fmt.Errorf("policies from %s: a tag or a digest is missing", specification)
	}
	client, err := options.client()
	if err != nil {
		return nil, fmt.Errorf("policies from %s: %w", specification, err)
	}
	host, _, _ := strings.Cut(repository.Reference.Registry, ":")
	repository.PlainHTTP = isLoopback(host) && options.CAFile == ""
	repository.Client = &auth.Client{
		Client: client, Cache: auth.NewCache(),
		Credential: auth.StaticCredential(repository.Reference.Registry, options.credential()),
	}
	return &ociBundle{name: specification, options: options, client: client, repository: repository}, nil
}

func (o Options) credential() auth.Credential {
	user, password, isPair := strings.Cut(o.Token, ":")
	if isPair {
		return auth.Credential{Username: user, Password: password}
	}
	return auth.Credential{AccessToken: o.Token}
}

func (b *ociBundle) Name() string        { return b.name }
func (b *ociBundle) Poll() time.Duration { return b.options.every(pollServers) }
func (b *ociBundle) close()              { b.client.CloseIdleConnections() }

// Fetch asks for the manifest of the tag, and for the layer only when it is another one.
func (b *ociBundle) Fetch(ctx context.Context, tag string) (Fetched, error) {
	limited, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	layer, err := b.layer(limited)
	if err != nil {
		return Fetched{}, err
	}
	now := layer.Digest.String()
	if now == tag {
		return Fetched{Tag: now, Unchanged: true}, nil
	}
	if layer.Size > b.options.Limits.Bytes {
		return Fetched{Tag: now, Refused: tooLarge(b.options.Limits)}, nil
	}
	body, err := b.repository.Blobs().Fetch(limited, layer)
	if err != nil {
		return Fetched{}, fmt.Errorf("fetching the bundle: %w", err)
	}
	defer func() { _ = body.Close() }()
	archive, err := content.ReadAll(body, layer) // no more than the layer's size, and its digest is checked
	if err != nil {
		return Fetched{}, fmt.Errorf("fetching the bundle: %w", err)
	}
	fetched := b.options.open(b.name, now, archive)
	fetched.Archive = archive
	return fetched, nil
}

func (b *ociBundle) layer(ctx context.Context) (ocispec.Descriptor, error) {
	descriptor, body, err := b.repository.Manifests().FetchReference(ctx, b.repository.Reference.Reference)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("asking for the manifest: %w", err)
	}
	defer func() { _ = body.Close() }()
	if descriptor.Size > maxManifestBytes {
		return ocispec.Descriptor{}, errors.New("the manifest is too large")
	}
	text, err := content.ReadAll(io.LimitReader(body, maxManifestBytes), descriptor)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("reading the manifest: %w", err)
	}
	var manifest ocispec.Manifest
	err = json.NewDecoder(bytes.NewReader(text)).Decode(&manifest)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("reading the manifest: %w", err)
	}
	for _, layer := range manifest.Layers {
		if layer.MediaType == ocispec.MediaTypeImageLayerGzip {
			return layer, nil
		}
	}
	return ocispec.Descriptor{}, fmt.Errorf("the image has no layer of type %s, which is where a bundle lies", ocispec.MediaTypeImageLayerGzip)
}
