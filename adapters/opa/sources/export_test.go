package sources

import (
	"context"
	"time"

	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
)

// Check asks the origin once, as Run does.
func (f *Follower) Check(ctx context.Context) error {
	_, err := f.check(ctx)
	return err
}

// Pack writes an archive of files as they are.
var Pack = pack

// Unpack reads the files of an archive.
var Unpack = unpack

// ReadFiles is ReadBundle of files that were unpacked.
func (t Trust) ReadFiles(name string, files map[string][]byte) (snapshot.Source, error) {
	return t.readFiles(name, files)
}

// SignFiles makes the signature of files as they are.
func (k SigningKey) SignFiles(files map[string][]byte) ([]byte, error) { return k.sign(files) }

// Close lets go of what the origin holds.
func (r *remote) Close() { r.close() }

// PauseAfter is how long Run waits after Check gave err.
func (f *Follower) PauseAfter(err error) time.Duration { return f.pause(false, err) }
