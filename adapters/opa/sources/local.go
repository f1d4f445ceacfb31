package sources

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/molecule-ai/gatehouse/adapters/opa/check"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
)

// directory is a folder of policies.
type directory struct{ place }

// Fetch reads the whole folder and compares contents. Times and notifications are not reliable for folders that are mounted,
// linked or shared.
func (d *directory) Fetch(_ context.Context, tag string) (Fetched, error) {
	read, err := check.Read(os.DirFS(d.name), d.options.Limits)
	refused := new(check.Refused)
	if err != nil && !errors.As(err, &refused) {
		return Fetched{}, err
	}
	files := read.All()
	hash := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		_, _ = fmt.Fprintf(hash, "%s\x00%d\x00%s", name, len(files[name]), files[name]) // a hash does not fail
	}
	_, _ = fmt.Fprint(hash, read.Aside, err)
	now := "sha256:" + hex.EncodeToString(hash.Sum(nil))
	switch {
	case now == tag:
		return Fetched{Tag: now, Unchanged: true}, nil
	case err != nil:
		return Fetched{Tag: now, Refused: err}, nil
	}
	return Fetched{Tag: now, Source: snapshot.Source{Name: d.name, FS: check.InMemory(files), Aside: read.Aside}}, nil
}

func (d *directory) watched() []string {
	folders := []string{d.name}
	_ = filepath.WalkDir(d.name, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil || len(folders) == maxWatched:
			return fs.SkipAll // polling sees what is not watched
		case !entry.IsDir() || path == d.name:
			return nil
		case strings.HasPrefix(entry.Name(), "."):
			return fs.SkipDir
		}
		folders = append(folders, path)
		return nil
	})
	return folders
}

// bundleFile is a bundle in a file.
type bundleFile struct{ place }

func (f *bundleFile) Fetch(_ context.Context, tag string) (Fetched, error) {
	file, err := os.Open(f.name)
	if err != nil {
		return Fetched{}, err
	}
	defer func() { _ = file.Close() }()
	archive, err := f.read(file)
	if err != nil {
		return Fetched{}, err
	}
	now := digestOf(archive)
	if now == tag {
		return Fetched{Tag: now, Unchanged: true}, nil
	}
	return f.open(now, archive), nil
}

func (f *bundleFile) watched() []string { return []string{filepath.Dir(f.name)} }

// watchable is an origin in the local file system.
type watchable interface {
	watched() []string // the folders whose changes may be changes of the origin
}

const (
	maxWatched = 256
	// settle is the pause between the first sign of a change and the look at it: most programs save a file in several steps.
	// More changes do not make it longer, because they may never stop.
	settle = 30 * time.Millisecond
)

// watch calls wake soon after a change, until ctx ends. It only saves time: polling finds every change too.
func watch(ctx context.Context, origin watchable, wake func()) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return
	}
	defer func() { _ = watcher.Close() }()
	again := func() {
		for _, folder := range origin.watched() {
			_ = watcher.Add(folder) // adding a folder twice is fine; polling sees one that is gone
		}
	}
	again()
	settled := time.NewTimer(0)
	defer settled.Stop()
	<-settled.C
	pending := false
	changed := func() {
		if !pending {
			pending = true
			settled.Reset(settle)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case _, open := <-watcher.Events:
			if !open {
				return
			}
			changed()
		case _, open := <-watcher.Errors: // notifications were lost, perhaps
			if !open {
				return
			}
			changed()
		case <-settled.C:
			pending = false
			again()
			wake()
		}
	}
}
