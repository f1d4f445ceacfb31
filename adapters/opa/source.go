package opa

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"testing/fstest" // the standard library's file system in memory
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/loader"

	"github.com/molecule-ai/gatehouse/adapters/opa/check"
	"github.com/molecule-ai/gatehouse/internal/yamlfile"
)

// Source is where policies come from: Rego modules and files named data.yaml or data.json, whose folder is
// their place in the data document.
type Source struct {
	Name   string // for people: "embedded", the directory, or the bundle's address
	FS     fs.FS
	Bundle *BundleInfo // nil when the files come from no bundle
	Aside  []string    // files of the place that are not in FS, because they have nothing to do with policies
}

// Limits bound what a source may hold. Zero is no limit.
type Limits = check.Limits

// BundleInfo is what a bundle says of itself.
type BundleInfo struct {
	Revision string    // what its author calls it; "" for nothing
	BuiltAt  time.Time // zero when it does not say
	Key      string    // fingerprint of the configured key that verified it; "" when no signature was verified
}

// isSigned says whether there is an order of such bundles: a time that nobody can change who has not the key.
func (b *BundleInfo) isSigned() bool { return b != nil && b.Key != "" }

// describe is how a message names the bundle.
func (b *BundleInfo) describe() string {
	if b.Revision == "" {
		return stamp(b.BuiltAt)
	}
	return fmt.Sprintf("%s, revision %s", stamp(b.BuiltAt), b.Revision)
}

// Directory is the source of a directory of policies.
func Directory(name string) Source {
	return Source{Name: name, FS: os.DirFS(name)}
}

// contents are the parsed files of a source.
type contents struct {
	modules  map[string]*ast.Module
	data     map[string]any
	files    check.Files // as they were read
	revision string
	stored   *storedOnly // nil: they judge requests
}

// maxSourceFiles bounds what a directory given by mistake can cost.
const maxSourceFiles = 10_000

// load reads every file once, so that what is checked, compiled and tested is one state of the source. It names all
// that is wrong with files, and not only the first.
func (s Source) load(capabilities *ast.Capabilities) (contents, error) {
	files, refused := check.Read(s.FS, check.Limits{Files: maxSourceFiles})
	if refused == nil && len(files.Policies)+len(files.Data) == 0 {
		refused = errors.New("no Rego files")
	}
	if len(files.Policies)+len(files.Data) == 0 {
		return contents{}, fmt.Errorf("policies from %s: %w", s.Name, refused)
	}
	readable := make(fstest.MapFS)
	for name, text := range files.Policies {
		readable[name] = &fstest.MapFile{Data: text, Mode: 0o444}
	}
	refused = errors.Join(refused, checkCaseFiles(files.Cases))
	for _, name := range sortedKeys(files.Data) {
		_, err := yamlfile.Read(name, files.Data[name])
		if err == nil {
			readable[name] = &fstest.MapFile{Data: files.Data[name], Mode: 0o444}
		}
		refused = errors.Join(refused, err)
	}
	loaded, err := loader.NewFileLoader().WithFS(readable).WithProcessAnnotation(true).
		WithCapabilities(capabilities).WithRegoVersion(ast.RegoV1).All([]string{"."})
	err = errors.Join(refused, err)
	if err != nil {
		return contents{}, fmt.Errorf("policies from %s: %w", s.Name, err)
	}
	err = check.Tests(files.Tests, loaded.ParsedModules(), isLookedFor)
	if err != nil {
		return contents{}, fmt.Errorf("policies from %s: %w", s.Name, err)
	}
	revision, err := revisionOf(loaded)
	if err != nil {
		return contents{}, fmt.Errorf("policies from %s: %w", s.Name, err)
	}
	files.Aside = append(slices.Clone(s.Aside), files.Aside...)
	return contents{modules: loaded.ParsedModules(), data: loaded.Documents, files: files, revision: revision}, nil
}

// isLookedFor says whether the engine itself looks for rules of this name.
func isLookedFor(rule ast.Ref) bool {
	last, isText := rule[len(rule)-1].Value.(ast.String)
	isSet := isText && len(rule) == len(hooksRoot)+2 && rule.HasPrefix(hooksRoot) && slices.Contains(sets, string(last))
	return isSet || rule.HasPrefix(logPackage)
}

// checkCaseFiles refuses YAML that has no cases: its author may take it for data.
func checkCaseFiles(files map[string][]byte) error {
	var refused error
	for _, name := range sortedKeys(files) {
		value, err := yamlfile.Value(name, files[name])
		if err == nil {
			document, _ := value.(map[string]any)
			if _, found := document["cases"]; !found {
				err = &check.Refused{File: name, Why: "nothing reads it: data is in files called data.yaml, and a case file has cases"}
			}
		}
		refused = errors.Join(refused, err)
	}
	return refused
}

// revisionOf digests what was loaded, and not the files once more: they could have changed meanwhile. Equal
// policies have equal revisions, wherever they lie.
func revisionOf(loaded *loader.Result) (string, error) {
	hash := sha256.New()
	for _, name := range sortedKeys(loaded.Modules) {
		text := loaded.Modules[name].Raw
		_, err := fmt.Fprintf(hash, "%s\x00%d\x00%s", name, len(text), text)
		if err != nil {
			return "", err
		}
	}
	data, err := json.Marshal(loaded.Documents)
	if err != nil {
		return "", err
	}
	_, err = hash.Write(data)
	return "sha256:" + hex.EncodeToString(hash.Sum(nil))[:16], err
}
