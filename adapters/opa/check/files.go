// Package check finds what would make policies weaker in silence: files that nothing would load, misspelt names, references
// to data that is not there. It reads files, names and references. It compiles and evaluates nothing.
package check

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"testing/fstest" // the standard library's file system in memory
)

// Limits bound what a source may hold. Zero is no limit.
type Limits struct {
	Bytes int64
	Files int
}

// Files are what a folder or a bundle holds, by name.
type Files struct {
	Policies map[string][]byte // Rego
	Data     map[string][]byte // data.yaml, data.yml, data.json: a file's folder is its place in the data
	Tests    map[string][]byte // _test.rego
	Cases    map[string][]byte // other YAML: each must be a case file
	Aside    []string          // other files, except those that everyone expects to be left out
}

// Refused is a file or folder that would be left out, or would not be what its author thinks.
type Refused struct {
	File string
	Why  string
}

func (e *Refused) Error() string { return e.File + ": " + e.Why }

// Read reads all files that count below fsys into memory. It follows links whose target is below fsys too. A file that would
// otherwise be left out in silence is refused by name: the error joins a Refused for each.
func Read(fsys fs.FS, limits Limits) (Files, error) {
	files := Files{
		Policies: make(map[string][]byte), Data: make(map[string][]byte),
		Tests: make(map[string][]byte), Cases: make(map[string][]byte),
	}
	w := walker{fsys: fsys, limits: limits, seen: make(map[string]string), files: files, ofKind: map[kind]map[string][]byte{
		policy: files.Policies, data: files.Data, test: files.Tests, cases: files.Cases,
	}}
	err := w.folder(".", ".", nil)
	if err != nil {
		return Files{}, err
	}
	w.checkData()
	return w.files, errors.Join(w.refused...)
}

// All are the files that count, of every kind.
func (f Files) All() map[string][]byte {
	all := make(map[string][]byte)
	for _, some := range []map[string][]byte{f.Policies, f.Data, f.Tests, f.Cases} {
		maps.Copy(all, some)
	}
	return all
}

// InMemory makes a file system of files.
func InMemory(files map[string][]byte) fs.FS {
	fsys := make(fstest.MapFS, len(files))
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: text, Mode: 0o444}
	}
	return fsys
}

// maxFolders bounds the work: links to folders of links multiply.
const maxFolders = 10_000

type walker struct {
	fsys    fs.FS
	limits  Limits
	files   Files
	ofKind  map[kind]map[string][]byte // the same files
	refused []error
	read    int
	seen    map[string]string // names of files, by where they lie
	bytes   int64
	folders int
}

func (w *walker) refuse(name, why string, args ...any) {
	w.refused = append(w.refused, &Refused{File: name, Why: fmt.Sprintf(why, args...)})
}

// folder reads a folder. name is its name for people, real is where it lies: they differ below links. above are the places
// of the folders around it.
func (w *walker) folder(name, real string, above []string) error {
	w.folders++
	if w.folders > maxFolders {
		return fmt.Errorf("more than %d folders", maxFolders)
	}
	entries, err := fs.ReadDir(w.fsys, real)
	if err != nil {
		return err
	}
	above = append(slices.Clone(above), real)
	for _, entry := range entries {
		err = w.entry(path.Join(name, entry.Name()), path.Join(real, entry.Name()), entry.Type(), above)
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) entry(name, real string, mode fs.FileMode, above []string) error {
	if isExpected(path.Base(name)) {
		return nil
	}
	if mode&fs.ModeSymlink != 0 {
		target, info, err := follow(w.fsys, real)
		if err != nil {
			w.refuse(name, "%s", err)
			return nil
		}
		real, mode = target, info.Mode().Type()
	}
	switch {
	case !mode.IsDir():
		return w.file(name, real, mode)
	case isHidden(name):
		return w.hiddenFolder(name, real)
	case slices.Contains(above, real):
		w.refuse(name, "is a link to a folder that it lies in itself")
		return nil
	default:
		return w.folder(name, real, above)
	}
}

func (w *walker) file(name, real string, mode fs.FileMode) error {
	kind, why := kindOf(path.Base(name))
	switch {
	case kind == aside:
		w.files.Aside = append(w.files.Aside, name)
		return nil
	case kind == ignored:
		return nil
	case kind == unknown:
		w.refuse(name, "%s", why)
		return nil
	case !mode.IsRegular():
		w.refuse(name, "is no regular file")
		return nil
	case w.seen[real] != "":
		w.refuse(name, "is the same file as %s, by a link: it would count twice", w.seen[real])
		return nil
	case w.limits.Files > 0 && w.read == w.limits.Files:
		return fmt.Errorf("more than %d files", w.limits.Files)
	}
	w.read++
	w.seen[real] = name
	info, err := fs.Stat(w.fsys, real)
	if err != nil {
		return err
	}
	w.bytes += info.Size()
	if w.limits.Bytes > 0 && w.bytes > w.limits.Bytes {
		return fmt.Errorf("more than %d bytes of policies and data", w.limits.Bytes)
	}
	text, err := fs.ReadFile(w.fsys, real)
	if err != nil {
		return err
	}
	w.ofKind[kind][name] = text
	return nil
}

// hiddenFolder refuses a folder with rules, data or Rego tests in it.
func (w *walker) hiddenFolder(name, real string) error {
	err := fs.WalkDir(w.fsys, real, func(inside string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && isPolicy(strings.TrimLeft(path.Base(inside), "._")) {
			w.refuse(name, "is hidden, so %s in it would not be loaded", entry.Name())
			return errFound
		}
		return err
	})
	if errors.Is(err, errFound) {
		return nil
	}
	w.files.Aside = append(w.files.Aside, name)
	return err
}

var errFound = errors.New("found")

// checkData refuses two data files of one place: somebody who reads one of them does not see the other.
func (w *walker) checkData() {
	names := make(map[string][]string)
	for name := range w.files.Data {
		names[path.Dir(name)] = append(names[path.Dir(name)], name)
	}
	for _, several := range names {
		if len(several) > 1 {
			slices.Sort(several)
			w.refuse(several[1], "is data of the same place as %s; one file must hold both", several[0])
		}
	}
}
