package opa

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing/fstest" // the standard library's file system in memory
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/loader"

	"gatehouse/internal/yamlfile"
)

// Source is where policies come from: Rego modules and files named data.yaml or data.json, whose folder is
// their place in the data document.
type Source struct {
	Name   string // for people: "embedded", the directory, or the bundle's address
	FS     fs.FS
	Bundle *BundleInfo // nil when the files come from no bundle
}

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
	revision string
}

// maxSourceFiles bounds what a directory given by mistake can cost.
const maxSourceFiles = 10_000

func (s Source) load(capabilities *ast.Capabilities) (contents, error) {
	files, err := s.policyFiles()
	if err != nil {
		return contents{}, fmt.Errorf("policies from %s: %w", s.Name, err)
	}
	read, refused, err := s.read(files)
	if err != nil {
		return contents{}, err
	}
	loaded, err := loader.NewFileLoader().WithFS(read).WithProcessAnnotation(true).
		WithCapabilities(capabilities).WithRegoVersion(ast.RegoV1).All([]string{"."})
	err = errors.Join(refused, err)
	if err != nil {
		return contents{}, err
	}
	revision, err := revisionOf(loaded)
	if err != nil {
		return contents{}, fmt.Errorf("policies from %s: %w", s.Name, err)
	}
	return contents{modules: loaded.ParsedModules(), data: loaded.Documents, revision: revision}, nil
}

// read takes the files into memory, so that OPA loads the text that was checked. Data files that another reader of YAML
// could take for something else are left out, and refused says why.
func (s Source) read(files map[string]bool) (read fstest.MapFS, refused, err error) {
	read = make(fstest.MapFS, len(files))
	for _, name := range sortedKeys(files) {
		text, err := fs.ReadFile(s.FS, name)
		if err != nil {
			return nil, nil, fmt.Errorf("policies from %s: %w", s.Name, err)
		}
		if path.Ext(name) != ".rego" {
			_, err = yamlfile.Read(name, text)
		}
		if err != nil {
			refused = errors.Join(refused, err)
			continue
		}
		read[name] = &fstest.MapFile{Data: text, Mode: 0o444}
	}
	return read, refused, nil
}

// policyFiles names the files that count.
func (s Source) policyFiles() (map[string]bool, error) {
	files := make(map[string]bool)
	err := fs.WalkDir(s.FS, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case isHidden(entry.Name()) && entry.IsDir():
			return fs.SkipDir
		case isHidden(entry.Name()) || entry.IsDir() || !isPolicyFile(name):
			return nil
		case len(files) == maxSourceFiles:
			return fmt.Errorf("more than %d files", maxSourceFiles)
		}
		files[name] = true
		return nil
	})
	if err == nil && len(files) == 0 {
		err = errors.New("no Rego files")
	}
	return files, err
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

// isHidden leaves out what editors and version control put beside files, and the folders behind the links of
// a mounted Kubernetes ConfigMap, which hold every file a second time.
func isHidden(base string) bool { return strings.HasPrefix(base, ".") && base != "." }

// Limits bound what a source may hold. Zero is no limit.
type Limits struct {
	Bytes int64
	Files int
}

// ReadFiles reads what counts of fsys into memory: policies, data, and tests. Only one state of a folder is
// then checked, compiled and tested, whatever happens to the folder meanwhile.
func ReadFiles(fsys fs.FS, limits Limits) (map[string][]byte, error) {
	files := make(map[string][]byte)
	var total int64
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case isHidden(entry.Name()) && entry.IsDir():
			return fs.SkipDir
		case isHidden(entry.Name()) || entry.IsDir() || !isPolicyFile(name) && !isTestFile(name):
			return nil
		case limits.Files > 0 && len(files) == limits.Files:
			return fmt.Errorf("more than %d files", limits.Files)
		}
		info, err := fs.Stat(fsys, name)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return nil
		}
		total += info.Size()
		if limits.Bytes > 0 && total > limits.Bytes {
			return fmt.Errorf("more than %d bytes of policies and data", limits.Bytes)
		}
		files[name], err = fs.ReadFile(fsys, name)
		return err
	})
	return files, err
}

// IsTestFile says whether a file that ReadFiles reads is only for tests.
func IsTestFile(name string) bool { return !isPolicyFile(name) && isTestFile(name) }

func isTestFile(name string) bool {
	return strings.HasSuffix(name, "_test.rego") || path.Ext(name) == ".yaml"
}

func isPolicyFile(name string) bool {
	base := path.Base(name)
	switch base {
	case "data.yaml", "data.yml", "data.json":
		return true
	}
	return path.Ext(base) == ".rego" && !strings.HasSuffix(base, "_test.rego")
}
