// Package rereadfile holds settings that lie in files, such as tokens, keys and certificates, and reads them again when
// the files have changed.
//
// There is no watcher: a file is looked at when its value is used, which costs a stat. What cannot be read or parsed,
// such as a file that is half written, empty or gone, leaves the value that was good in use, and is reported.
package rereadfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"
)

// Reporter hears what becomes of files. It must be safe for concurrent use, and does not get their content: errors of
// parsing must not have it either.
type Reporter interface {
	// Watched is told once of each setting.
	Watched(setting string)
	// Reread says that the files of the setting changed and that their new content is in use.
	Reread(setting string)
	// RereadFailed says, once for each cause, that they changed and that what was good stays in use.
	RereadFailed(setting string, err error)
}

// File is the value of one or several files that belong together. It is safe for concurrent use.
type File[T any] struct {
	setting string
	paths   []string
	parse   func(contents [][]byte) (T, error)
	report  Reporter

	mu       sync.Mutex
	value    T
	contents [][]byte
	stamps   []fs.FileInfo
	settled  bool // later changes of the files have other stamps
	failed   string
	changed  bool // since the last Look
}

// racy is how long after a change another one may leave the time and the size of a file as they are.
const racy = 2 * time.Second

// Open reads the files and gives what parse makes of their contents. Without files it is called once.
// report may be nil.
func Open[T any](setting string, report Reporter, parse func(contents [][]byte) (T, error), paths ...string) (*File[T], error) {
	f := &File[T]{setting: setting, paths: paths, parse: parse, report: report}
	if f.report == nil {
		f.report = nobody{}
	}
	stamps, err := f.stat()
	if err != nil {
		return nil, err
	}
	contents, err := f.read(stamps)
	if err != nil {
		return nil, err
	}
	f.value, err = parse(contents)
	if err != nil {
		return nil, err
	}
	f.contents, f.stamps, f.settled = contents, stamps, isSettled(stamps)
	if len(paths) > 0 {
		f.report.Watched(setting)
	}
	return f, nil
}

// Get is the value of the files as they are now, or as they were when they were good last.
func (f *File[T]) Get() T {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refresh()
	return f.value
}

// Look is Get, and says whether the value is another one than at the Look before.
func (f *File[T]) Look() (value T, changed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refresh()
	changed, f.changed = f.changed, false
	return f.value, changed
}

// Follow looks at the files every so often until ctx ends, and hands over what they have become.
func (f *File[T]) Follow(ctx context.Context, every time.Duration, use func(T)) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if value, changed := f.Look(); changed {
				use(value)
			}
		}
	}
}

func (f *File[T]) refresh() {
	stamps, err := f.stat()
	if err != nil {
		f.fail(err)
		return
	}
	if f.settled && f.failed == "" && f.isKnown(stamps) {
		return
	}
	contents, err := f.read(stamps)
	if err != nil {
		f.fail(err)
		return
	}
	if !equal(contents, f.contents) {
		value, err := f.parse(contents)
		if err != nil {
			f.fail(err)
			return
		}
		f.value, f.contents, f.changed = value, contents, true
		f.report.Reread(f.setting)
	}
	f.stamps, f.settled, f.failed = stamps, isSettled(stamps), ""
}

// fail keeps the value. It looks again at the next use.
func (f *File[T]) fail(err error) {
	if err.Error() == f.failed {
		return
	}
	f.failed = err.Error()
	f.report.RereadFailed(f.setting, err)
}

// stat follows links: a mounted secret of Kubernetes is a link, and a change of it swaps a link on the way.
func (f *File[T]) stat() ([]fs.FileInfo, error) {
	stamps := make([]fs.FileInfo, len(f.paths))
	for i, path := range f.paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		stamps[i] = info
	}
	return stamps, nil
}

// read gives what is in the files. A pipe gives nothing a second time, so it is read once.
func (f *File[T]) read(stamps []fs.FileInfo) ([][]byte, error) {
	contents := make([][]byte, len(f.paths))
	for i, path := range f.paths {
		if f.contents != nil && !stamps[i].Mode().IsRegular() {
			contents[i] = f.contents[i]
			continue
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		contents[i] = content
	}
	return contents, nil
}

// isKnown says whether the files are those that were read.
func (f *File[T]) isKnown(stamps []fs.FileInfo) bool {
	for i, now := range stamps {
		was := f.stamps[i]
		if !now.Mode().IsRegular() {
			continue
		}
		if !os.SameFile(now, was) || !now.ModTime().Equal(was.ModTime()) || now.Size() != was.Size() {
			return false
		}
	}
	return true
}

func isSettled(stamps []fs.FileInfo) bool {
	for _, info := range stamps {
		if info.Mode().IsRegular() && time.Since(info.ModTime()) < racy {
			return false
		}
	}
	return true
}

func equal(a, b [][]byte) bool {
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

// Text is for a parse that wants a file's text without the white space around it, such as a token's. No text is an
// error: an empty file never empties a setting.
func Text(content []byte) (string, error) {
	text := bytes.TrimSpace(content)
	if len(text) == 0 {
		return "", errEmpty
	}
	return string(text), nil
}

var errEmpty = errors.New("the file is empty")

// OpenText is Open of one file that holds a text.
func OpenText(setting string, report Reporter, path string) (*File[string], error) {
	return Open(setting, report, func(contents [][]byte) (string, error) {
		text, err := Text(contents[0])
		if err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		return text, nil
	}, path)
}

type nobody struct{}

func (nobody) Watched(string)             {}
func (nobody) Reread(string)              {}
func (nobody) RereadFailed(string, error) {}
