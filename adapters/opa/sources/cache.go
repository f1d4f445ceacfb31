package sources

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Cache keeps the last good bundle of an origin on disk, so that a restart does not need the origin. A bundle from the cache is
// checked like any other: the folder is not trusted more than the network.
type Cache struct {
	folder string
}

// NewCache makes the folder if it is not there.
func NewCache(folder string) (*Cache, error) {
	err := os.MkdirAll(folder, 0o700)
	if err != nil {
		return nil, fmt.Errorf("the cache of policies: %w", err)
	}
	return &Cache{folder: folder}, nil
}

// cached is a bundle, the tag it came with, and when it was last known to be current.
type cached struct {
	archive   []byte
	tag       string
	confirmed time.Time
}

type cacheNote struct {
	Origin string `json:"origin"`
	Digest string `json:"digest"` // of the archive: the note may be of another one if writing was cut short
	Tag    string `json:"tag"`
}

func (c *Cache) paths(origin string) (archive, note string) {
	base := filepath.Join(c.folder, digestOf([]byte(origin))[len("sha256:"):][:16])
	return base + ".tar.gz", base + ".json"
}

// load gives nil when nothing is kept.
func (c *Cache) load(origin string) (*cached, error) {
	archivePath, notePath := c.paths(origin)
	archive, err := os.ReadFile(archivePath)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	kept := &cached{archive: archive}
	info, err := os.Stat(archivePath)
	if err != nil {
		return nil, err
	}
	kept.confirmed = info.ModTime()
	text, err := os.ReadFile(notePath)
	var note cacheNote
	if err == nil && json.Unmarshal(text, &note) == nil && note.Origin == origin && note.Digest == digestOf(archive) {
		kept.tag = note.Tag
	}
	return kept, nil
}

func (c *Cache) store(origin string, archive []byte, tag string) error {
	archivePath, notePath := c.paths(origin)
	note, err := json.Marshal(cacheNote{Origin: origin, Digest: digestOf(archive), Tag: tag})
	if err != nil {
		return err
	}
	err = replaceFile(archivePath, archive)
	if err != nil {
		return err
	}
	return replaceFile(notePath, note)
}

// confirm keeps the time at which the bundle was last known to be current as the time of its file.
func (c *Cache) confirm(origin string, at time.Time) error {
	archivePath, _ := c.paths(origin)
	return os.Chtimes(archivePath, at, at)
}

// replaceFile writes a new file, and puts it in place once it is whole and on the disk.
func replaceFile(path string, content []byte) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(file.Name())
		}
	}()
	_, err = file.Write(content)
	err = errors.Join(err, file.Sync(), file.Close())
	if err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
