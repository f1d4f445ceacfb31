package sources

import (
	"context"
	"fmt"
	"strings"

	"oras.land/oras-go/v2/content"
	registry "oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// ociBundle is a bundle in a registry of OCI images: the gzipped layer of an image. OPA's own downloader is not used. It copies
// every version to the disk, bounds neither the download nor what it unpacks, and takes the first layer of several.
type ociBundle struct {
	remote

	repository *registry.Repository
}

func newOCI(specification, reference string, options Options) (Origin, error) {
	if host, _, _ := strings.Cut(reference, "/"); strings.Contains(host, "@") || strings.Contains(reference, "?") {
		return nil, fmt.Errorf("policies from %s: credentials do not belong into an address; use --policies-token", Shown(specification))
	}
	repository, err := registry.NewRepository(reference)
	if err != nil {
		return nil, fmt.Errorf("policies from %s: %w", specification, err)
	}
	if repository.Reference.Reference == "" {
		return nil, fmt.Errorf("policies from %s: a tag or a digest is missing", specification)
	}
	server, err := newRemote(specification, options)
	if err != nil {
		return nil, err
	}
	host, _, _ := strings.Cut(repository.Reference.Registry, ":")
	repository.PlainHTTP = isLoopback(host) && options.CAFile == ""
	repository.Client = &auth.Client{
		Client: server.client, Cache: auth.NewCache(),
		Credential: auth.StaticCredential(repository.Reference.Registry, options.credential()),
	}
	return &ociBundle{server, repository}, nil
}

func (o Options) credential() auth.Credential {
	user, password, isPair := strings.Cut(o.Token, ":")
	if isPair {
		return auth.Credential{Username: user, Password: password}
	}
	return auth.Credential{AccessToken: o.Token}
}

// Fetch asks for the manifest of the tag. It fetches the layer only if it is a new one.
func (b *ociBundle) Fetch(ctx context.Context, tag string) (Fetched, error) {
	limited, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	image, err := b.image(limited)
	if err != nil {
		return Fetched{}, err
	}
	layer, refused := b.bundleOf(image.layers)
	if refused != nil {
		now := image.digest.String()
		return Fetched{Tag: now, Unchanged: now == tag, Refused: refused}, nil
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
	if !isGzip(archive) {
		return Fetched{Tag: now, Refused: b.noBundle(image.layers)}, nil
	}
	return b.open(now, archive), nil
}
