package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/loader"

	"github.com/molecule-ai/gatehouse/adapters/opa/check"
	"github.com/molecule-ai/gatehouse/adapters/opa/regoval"
	"github.com/molecule-ai/gatehouse/internal/yamlfile"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// Source is where policies come from: Rego modules and files named data.yaml or data.json, whose folder is
// their place in the data document.
type Source struct {
	Name   string // for people: "embedded", the directory, or the bundle's address
	FS     fs.FS
	Bundle *ledger.Bundle // nil when the files come from no bundle
	Aside  []string       // files of the place that are not in FS, because they have nothing to do with policies
}

// Directory is the source of a directory of policies.
func Directory(name string) Source {
	return Source{Name: name, FS: os.DirFS(name)}
}

// Contents are the parsed files of a source.
type Contents struct {
	Source   string // its name
	Bundle   *ledger.Bundle
	Modules  map[string]*ast.Module
	Data     map[string]any
	Files    check.Files // as they were read
	Revision string

	stored *storedOnly // nil: they judge requests
}

// maxSourceFiles bounds what a directory given by mistake can cost.
const maxSourceFiles = 10_000

// Read reads every file once, so that one state of the source is checked, compiled and tested. Its error names every file that
// is wrong, and not only the first.
func (s Source) Read() (Contents, error) {
	files, refused := check.Read(s.FS, check.Limits{Files: maxSourceFiles})
	if refused == nil && len(files.Policies)+len(files.Data) == 0 {
		refused = errors.New("no Rego files")
	}
	if len(files.Policies)+len(files.Data) == 0 {
		return Contents{}, fmt.Errorf("policies from %s: %w", s.Name, refused)
	}
	readable := maps.Clone(files.Policies)
	refused = errors.Join(refused, checkCaseFiles(files.Cases))
	for _, name := range slices.Sorted(maps.Keys(files.Data)) {
		_, err := yamlfile.Read(name, files.Data[name])
		if err == nil {
			readable[name] = files.Data[name]
		}
		refused = errors.Join(refused, err)
	}
	loaded, err := loader.NewFileLoader().WithFS(check.InMemory(readable)).WithProcessAnnotation(true).
		WithCapabilities(regoval.Capabilities()).WithRegoVersion(ast.RegoV1).All([]string{"."})
	err = errors.Join(refused, err)
	if err != nil {
		return Contents{}, fmt.Errorf("policies from %s: %w", s.Name, err)
	}
	err = check.Tests(files.Tests, loaded.ParsedModules())
	if err != nil {
		return Contents{}, fmt.Errorf("policies from %s: %w", s.Name, err)
	}
	revision, err := revisionOf(loaded)
	if err != nil {
		return Contents{}, fmt.Errorf("policies from %s: %w", s.Name, err)
	}
	files.Aside = append(slices.Clone(s.Aside), files.Aside...)
	return Contents{
		Source: s.Name, Bundle: s.Bundle, Modules: loaded.ParsedModules(), Data: loaded.Documents, Files: files, Revision: revision,
	}, nil
}

// checkCaseFiles refuses YAML without cases: its author may think that it is data.
func checkCaseFiles(files map[string][]byte) error {
	var refused error
	for _, name := range slices.Sorted(maps.Keys(files)) {
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

// revisionOf digests what was loaded. It does not read the files again, because they could have changed meanwhile. Equal
// policies have equal revisions, wherever they lie.
func revisionOf(loaded *loader.Result) (string, error) {
	hash := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(loaded.Modules)) {
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
