package sources

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"

	"github.com/molecule-ai/gatehouse/adapters/opa/check"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// The names that OPA gives to what a bundle holds beside policies and data.
const (
	manifestName   = ".manifest"
	signaturesName = ".signatures.json"
)

// Trust says which bundles are taken.
type Trust struct {
	Limits check.Limits
	Keys   Keys // none: signatures are not looked at
}

// ReadBundle unpacks a bundle and checks everything that can be checked without compiling it. The source has the bundle's files
// in memory.
func (t Trust) ReadBundle(name string, archive []byte) (snapshot.Source, error) {
	files, err := unpack(archive, t.Limits)
	if err != nil {
		return snapshot.Source{}, err
	}
	return t.readFiles(name, files)
}

func (t Trust) readFiles(name string, files map[string][]byte) (snapshot.Source, error) {
	info, err := t.examine(files)
	if err != nil {
		return snapshot.Source{}, err
	}
	return snapshot.Source{Name: name, FS: check.InMemory(files), Bundle: &info}, nil
}

// examine lets OPA's reader read the files that were unpacked, and not the archive once more. So the files that are verified are
// the files that are loaded.
func (t Trust) examine(files map[string][]byte) (ledger.Bundle, error) {
	err := checkNames(files)
	if err != nil {
		return ledger.Bundle{}, err
	}
	_, err = check.Read(check.InMemory(files), t.Limits)
	if err != nil {
		return ledger.Bundle{}, err
	}
	loader, err := bundle.NewFSLoader(check.InMemory(files))
	if err != nil {
		return ledger.Bundle{}, err
	}
	var info ledger.Bundle
	reader := bundle.NewCustomReader(loader.WithPathFormat(bundle.Passthrough)).
		WithProcessAnnotations(true).WithRegoVersion(ast.RegoV1).WithSizeLimitBytes(t.Limits.Bytes)
	if t.Keys.None() {
		reader.WithSkipBundleVerification(true)
	} else {
		signatures, err := readSignatures(files)
		if err != nil {
			return ledger.Bundle{}, err
		}
		config, key, err := verification(signatures, t.Keys.Now())
		if err != nil {
			return ledger.Bundle{}, err
		}
		info.SignedBy = key.Fingerprint
		reader.WithBundleVerificationConfig(config)
	}
	read, err := reader.Read()
	if err != nil {
		return ledger.Bundle{}, err
	}
	if read.Manifest.RegoVersion != nil && *read.Manifest.RegoVersion != ast.RegoV1.Int() || len(read.Manifest.FileRegoVersions) > 0 {
		return ledger.Bundle{}, errors.New("the bundle's manifest asks for another version of Rego than 1")
	}
	info.Revision = read.Manifest.Revision
	info.BuiltAt, err = builtAt(read.Manifest)
	return info, err
}

// checkNames refuses files that OPA would read and Gatehouse would not: nothing of a bundle is ignored in silence. It also
// refuses names that would make OPA look elsewhere for the manifest and the signatures.
func checkNames(files map[string][]byte) error {
	for name, text := range files {
		switch base := path.Base(name); {
		case base == bundle.WasmFile || base == bundle.PlanFile || base == bundle.PlanProtoFile:
			return fmt.Errorf("the bundle holds %s: policies must be Rego, not compiled to something else", name)
		case isOptimized(name, text):
			return fmt.Errorf("the bundle holds %s: optimized bundles are not supported; build it without opa build -O", name)
		case base == "patch.json":
			return errors.New("the bundle is a delta bundle, which cannot be signed; only whole ones are taken")
		case strings.HasSuffix(base, manifestName) && name != manifestName,
			strings.HasSuffix(base, bundle.ManifestProtoExt),
			base == signaturesName && name != signaturesName:
			return fmt.Errorf("the bundle holds %s: there is one %s and one %s, at the top", name, manifestName, signaturesName)
		}
	}
	return nil
}

// isOptimized says whether opa build -O has made a file. Its rules are partly evaluated and have lost their annotations.
func isOptimized(name string, text []byte) bool {
	return strings.HasPrefix(name, "optimized/") && path.Ext(name) == ".rego" &&
		(bytes.Contains(text, []byte("__local")) || bytes.HasPrefix(text, []byte("package partial")))
}

func readSignatures(files map[string][]byte) (bundle.SignaturesConfig, error) {
	var signatures bundle.SignaturesConfig
	text, found := files[signaturesName]
	if !found {
		return signatures, nil
	}
	err := json.Unmarshal(text, &signatures)
	if err != nil {
		return signatures, fmt.Errorf("%s: %w", signaturesName, err)
	}
	return signatures, nil
}

// metadataKey holds the time of building in the manifest, which is signed with the files. OPA neither writes nor reads the time
// of signing (iat).
const metadataKey = "gatehouse"

func builtAt(manifest bundle.Manifest) (time.Time, error) {
	ours, isObject := manifest.Metadata[metadataKey].(map[string]any)
	if !isObject {
		return time.Time{}, nil
	}
	text, isText := ours["built_at"].(string)
	if !isText {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("the manifest's metadata.%s.built_at is no time: %w", metadataKey, err)
	}
	return at, nil
}
