package opa

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/loader"
)

// Source is where policies come from: Rego modules and files named data.yaml or data.json, whose folder is
// their place in the data document.
type Source struct {
	Name string // for people: "embedded", or the directory
	FS   fs.FS
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
	files, revision, err := s.policyFiles()
	if err != nil {
		return contents{}, fmt.Errorf("policies from %s: %w", s.Name, err)
	}
	loaded, err := loader.NewFileLoader().WithFS(s.FS).WithProcessAnnotation(true).
		WithCapabilities(capabilities).WithRegoVersion(ast.RegoV1).
		Filtered([]string{"."}, func(abs string, info fs.FileInfo, _ int) bool {
			return !info.IsDir() && !files[path.Clean(strings.TrimPrefix(abs, "/"))]
		})
	if err != nil {
		return contents{}, err
	}
	return contents{modules: loaded.ParsedModules(), data: loaded.Documents, revision: revision}, nil
}

// policyFiles names the files that count, and digests them into the revision: equal policies have equal
// revisions, wherever they lie.
func (s Source) policyFiles() (map[string]bool, string, error) {
	files := make(map[string]bool)
	hash := sha256.New()
	err := fs.WalkDir(s.FS, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() || !isPolicyFile(name) {
			return nil
		}
		if len(files) == maxSourceFiles {
			return fmt.Errorf("more than %d files", maxSourceFiles)
		}
		text, err := fs.ReadFile(s.FS, name)
		if err != nil {
			return err
		}
		files[name] = true
		_, err = fmt.Fprintf(hash, "%s\x00%d\x00%s", name, len(text), text)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	if len(files) == 0 {
		return nil, "", errors.New("no Rego files")
	}
	return files, "sha256:" + hex.EncodeToString(hash.Sum(nil))[:16], nil
}

func isPolicyFile(name string) bool {
	base := path.Base(name)
	switch base {
	case "data.yaml", "data.yml", "data.json":
		return true
	}
	return path.Ext(base) == ".rego" && !strings.HasSuffix(base, "_test.rego")
}
