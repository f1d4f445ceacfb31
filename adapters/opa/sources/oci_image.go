package sources

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
)

const (
	// maxManifestBytes is what registries take for a manifest.
	maxManifestBytes = 4 << 20
	// maxManifests bounds how many an index leads to: one for each platform, and their attestations.
	maxManifests = 64
)

// image is what a tag names: a manifest, or an index of several.
type image struct {
	digest digest.Digest        // of the manifest or the index
	layers []ocispec.Descriptor // of all manifests, each once
}

// image reads the manifest of the tag. If that is an index, it reads all manifests in it.
func (b *ociBundle) image(ctx context.Context) (image, error) {
	descriptor, body, err := b.repository.Manifests().FetchReference(ctx, b.repository.Reference.Reference)
	if err != nil {
		return image{}, fmt.Errorf("asking for the manifest: %w", err)
	}
	named := image{digest: descriptor.Digest}
	waiting, seen := []ocispec.Descriptor{descriptor}, make(map[digest.Digest]bool)
	for len(waiting) > 0 {
		next := waiting[0]
		waiting = waiting[1:]
		if isAttestation(next) || seen[next.Digest] {
			continue
		}
		if len(seen) > maxManifests {
			return image{}, fmt.Errorf("the index leads to more than %d manifests", maxManifests)
		}
		if len(seen) > 0 { // the first body is there already
			body, err = b.repository.Manifests().Fetch(ctx, next)
		}
		if err != nil {
			return image{}, fmt.Errorf("asking for a manifest of the index: %w", err)
		}
		seen[next.Digest] = true
		found, err := readManifest(next, body)
		if err != nil {
			return image{}, err
		}
		named.add(found.Layers)
		waiting = append(waiting, found.Manifests...)
	}
	return named, nil
}

func (i *image) add(layers []ocispec.Descriptor) {
	for _, layer := range layers {
		if !slices.ContainsFunc(i.layers, func(known ocispec.Descriptor) bool { return known.Digest == layer.Digest }) {
			i.layers = append(i.layers, layer)
		}
	}
}

// manifest has the members of a manifest and those of an index.
type manifest struct {
	Layers    []ocispec.Descriptor `json:"layers"`
	Manifests []ocispec.Descriptor `json:"manifests"`
}

func readManifest(descriptor ocispec.Descriptor, body io.ReadCloser) (manifest, error) {
	defer func() { _ = body.Close() }()
	if descriptor.Size > maxManifestBytes {
		return manifest{}, errors.New("the manifest is too large")
	}
	text, err := content.ReadAll(io.LimitReader(body, maxManifestBytes), descriptor)
	if err != nil {
		return manifest{}, fmt.Errorf("reading the manifest: %w", err)
	}
	var found manifest
	err = json.Unmarshal(text, &found)
	if err != nil {
		return manifest{}, fmt.Errorf("reading the manifest: %w", err)
	}
	return found, nil
}

// isAttestation says whether a manifest of an index is an attestation of docker buildx, which says how the images were built.
// Its platform is called unknown.
func isAttestation(of ocispec.Descriptor) bool {
	return of.Platform != nil && of.Platform.OS == "unknown" && of.Platform.Architecture == "unknown"
}

// bundleOf finds the one layer that may be a bundle: the one of the type that OPA uses, or else the only one. A plain oras push
// gives each file the type of a tar.
func (b *ociBundle) bundleOf(layers []ocispec.Descriptor) (ocispec.Descriptor, error) {
	var typed []ocispec.Descriptor
	for _, layer := range layers {
		if layer.MediaType == ocispec.MediaTypeImageLayerGzip {
			typed = append(typed, layer)
		}
	}
	switch {
	case len(typed) == 1:
		return typed[0], nil
	case len(typed) > 1:
		return ocispec.Descriptor{}, fmt.Errorf("the image has %d different layers of type %s, and a bundle is one; "+
			"name one image of an index by its digest (%s@sha256:…), or make an image of the bundle alone: %s",
			len(typed), ocispec.MediaTypeImageLayerGzip, b.repositoryName(), b.pushCommand())
	case len(layers) == 1:
		return layers[0], nil
	}
	return ocispec.Descriptor{}, b.noBundle(layers)
}

// noBundle says which layers there are, and which command pushes a bundle.
func (b *ociBundle) noBundle(layers []ocispec.Descriptor) error {
	found := "no layer at all"
	if len(layers) > 0 {
		types := make([]string, len(layers))
		for i, layer := range layers {
			types[i] = layer.MediaType
		}
		found = strings.Join(slices.Compact(types), ", ")
	}
	return fmt.Errorf("the image has no layer of type %s, which is where a bundle lies, but %s; push the bundle with: %s",
		ocispec.MediaTypeImageLayerGzip, found, b.pushCommand())
}

func (b *ociBundle) pushCommand() string {
	tag := b.repository.Reference.Reference
	if b.repository.Reference.ValidateReferenceAsDigest() == nil {
		tag = "TAG"
	}
	return fmt.Sprintf("oras push %s:%s policies.tar.gz:%s", b.repositoryName(), tag, ocispec.MediaTypeImageLayerGzip)
}

func (b *ociBundle) repositoryName() string {
	return b.repository.Reference.Registry + "/" + b.repository.Reference.Repository
}

func isGzip(content []byte) bool { return bytes.HasPrefix(content, []byte{0x1f, 0x8b}) }
