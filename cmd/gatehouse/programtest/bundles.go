package programtest

import (
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func Bundled(t *testing.T, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bundle.tar.gz")
	got := Command(t, "", append([]string{"bundle", "build", path}, args...)...)
	require.Zero(t, got.Code, got.Err)
	return path
}

// Shelf serves one bundle that a test may change or take away.
type Shelf struct {
	mu      sync.Mutex
	Archive []byte
}

func (s *Shelf) Put(t *testing.T, path string) {
	t.Helper()
	var archive []byte
	if path != "" {
		var err error
		archive, err = os.ReadFile(path)
		require.NoError(t, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Archive = archive
}

func (s *Shelf) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Archive == nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write(s.Archive)
}
