package sources

import (
	"archive/tar"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/util"
)

// Package is what goes into a bundle.
type Package struct {
	Files    map[string][]byte
	Revision string
	BuiltAt  time.Time
	Key      *SigningKey // nil: unsigned
}

// Build writes the bundle. It does not change files, so that errors name the lines of the author's files.
func (p Package) Build(w io.Writer) error {
	version := ast.RegoV1.Int()
	roots := []string{""}
	manifest := bundle.Manifest{
		Revision: p.Revision, RegoVersion: &version, Roots: &roots,
		Metadata: map[string]any{metadataKey: map[string]any{"built_at": p.BuiltAt.UTC().Format(time.RFC3339Nano)}},
	}
	text, err := json.Marshal(manifest)
	if err != nil {
		return fmt.Errorf("the bundle's manifest: %w", err)
	}
	files := maps.Clone(p.Files)
	files[manifestName] = text
	if p.Key != nil {
		files[signaturesName], err = p.Key.sign(files)
		if err != nil {
			return err
		}
	}
	return pack(w, files, p.BuiltAt)
}

// Sign signs the bundle's files as they are, in place of an earlier signature. at becomes the time of building of a bundle that
// has none.
func (t Trust) Sign(w io.Writer, archive []byte, key SigningKey, at time.Time) error {
	files, err := unpack(archive, t.Limits)
	if err != nil {
		return err
	}
	info, err := Trust{Limits: t.Limits}.examine(files)
	if err != nil {
		return err
	}
	delete(files, signaturesName)
	if info.BuiltAt.IsZero() {
		info.BuiltAt = at
		files[manifestName], err = withBuiltAt(files[manifestName], at)
		if err != nil {
			return err
		}
	}
	files[signaturesName], err = key.sign(files)
	if err != nil {
		return err
	}
	return pack(w, files, info.BuiltAt)
}

func withBuiltAt(text []byte, at time.Time) ([]byte, error) {
	manifest := make(map[string]any)
	if len(text) > 0 {
		err := util.UnmarshalJSON(text, &manifest)
		if err != nil {
			return nil, fmt.Errorf("the bundle's manifest: %w", err)
		}
	}
	metadata, isObject := manifest["metadata"].(map[string]any)
	if !isObject {
		metadata = make(map[string]any)
	}
	metadata[metadataKey] = map[string]any{"built_at": at.UTC().Format(time.RFC3339Nano)}
	manifest["metadata"] = metadata
	return json.Marshal(manifest)
}

// sign makes OPA's .signatures.json.
func (k SigningKey) sign(files map[string][]byte) ([]byte, error) {
	hasher, err := bundle.NewSignatureHasher(bundle.SHA256)
	if err != nil {
		return nil, err
	}
	signed := make([]bundle.FileInfo, 0, len(files))
	for _, name := range slices.Sorted(maps.Keys(files)) {
		var value any = files[name]
		if bundle.IsStructuredDoc(name) {
			err := util.Unmarshal(files[name], &value)
			if err != nil {
				return nil, fmt.Errorf("signing %s: %w", name, err)
			}
		}
		sum, err := hasher.HashFile(value)
		if err != nil {
			return nil, fmt.Errorf("signing %s: %w", name, err)
		}
		signed = append(signed, bundle.NewFile(name, hex.EncodeToString(sum), bundle.SHA256.String()))
	}
	config := bundle.NewSigningConfig(k.private, k.algorithms[0], "")
	token, err := bundle.GenerateSignedToken(signed, config, k.Fingerprint)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return json.Marshal(bundle.SignaturesConfig{Signatures: []string{token}})
}

// pack writes files in order and with one time, so that the same content gives the same archive.
func pack(w io.Writer, files map[string][]byte, at time.Time) error {
	zipped := gzip.NewWriter(w)
	archive := tar.NewWriter(zipped)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		header := &tar.Header{
			Typeflag: tar.TypeReg, Name: name, Size: int64(len(files[name])), Mode: 0o644, ModTime: at.Truncate(time.Second),
		}
		err := archive.WriteHeader(header)
		if err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
		_, err = archive.Write(files[name])
		if err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
	}
	return errors.Join(archive.Close(), zipped.Close())
}

// Inspection is what a bundle says of itself. Nothing of it is verified.
type Inspection struct {
	Revision string          `json:"revision"`
	BuiltAt  *time.Time      `json:"built_at"`
	Roots    []string        `json:"roots"`
	Metadata map[string]any  `json:"metadata"`
	Signed   bool            `json:"signed"`
	Key      string          `json:"key"` // the id that the signature names
	Files    []InspectedFile `json:"files"`
}

// InspectedFile is one file of a bundle.
type InspectedFile struct {
	Name string `json:"name"`
	Size int    `json:"size"`
}

// Inspect opens a bundle without verifying its signature.
func (t Trust) Inspect(archive []byte) (Inspection, error) {
	files, err := unpack(archive, t.Limits)
	if err != nil {
		return Inspection{}, err
	}
	var manifest bundle.Manifest
	if text, found := files[manifestName]; found {
		err = util.UnmarshalJSON(text, &manifest)
		if err != nil {
			return Inspection{}, fmt.Errorf("the bundle's manifest: %w", err)
		}
	}
	manifest.Init()
	seen := Inspection{Revision: manifest.Revision, Roots: *manifest.Roots, Metadata: manifest.Metadata}
	at, err := builtAt(manifest)
	if err != nil {
		return Inspection{}, err
	}
	if !at.IsZero() {
		seen.BuiltAt = &at
	}
	signatures, err := readSignatures(files)
	if err != nil {
		return Inspection{}, err
	}
	if len(signatures.Signatures) > 0 {
		header, err := headerOf(signatures.Signatures[0])
		if err != nil {
			return Inspection{}, err
		}
		seen.Signed, seen.Key = true, header.KeyID
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		seen.Files = append(seen.Files, InspectedFile{Name: name, Size: len(files[name])})
	}
	return seen, nil
}
