package decisionlog_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/decisionlog"
	"github.com/molecule-ai/gatehouse/internal/rereadfile"
)

// moodyCollector refuses what comes before it wants to be asked again, and takes the rest.
type moodyCollector struct {
	*httptest.Server

	mu    sync.Mutex
	after func() string // the header of the first answer
	times []time.Time
}

func newMoodyCollector(t *testing.T, after func() string) *moodyCollector {
	t.Helper()
	c := &moodyCollector{after: after}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.times = append(c.times, time.Now())
		if len(c.times) == 1 {
			w.Header().Set("Retry-After", c.after())
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *moodyCollector) asked() []time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.times
}

// A collector that says when it wants to be asked again, in seconds or by a date, is left alone until then.
func TestUploadWaitsAsLongAsTheCollectorAsks(t *testing.T) {
	for name, after := range map[string]func() string{
		"seconds": func() string { return "1" },
		"a date":  func() string { return time.Now().Add(2 * time.Second).UTC().Format(http.TimeFormat) }, // whole seconds
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openSQLite(t, filepath.Join(t.TempDir(), "gatehouse.db"))
			moody, c := newMoodyCollector(t, after), newCollector(t)
			record(t, s, 1)
			uploading(t, s, c, func(o *decisionlog.UploadOptions) { o.URL = moody.URL })
			require.Eventually(t, func() bool { return len(moody.asked()) == 2 }, patience, 5*time.Millisecond)
			asked := moody.asked()
			require.GreaterOrEqual(t, asked[1].Sub(asked[0]), time.Second)
		})
	}
}

// A token in a file that changes is sent with the next upload, so that none is lost while tokens are changed.
func TestUploadSendsARotatedToken(t *testing.T) {
	s, c := openSQLite(t, filepath.Join(t.TempDir(), "gatehouse.db")), newCollector(t)
	path := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(path, []byte("an-old-token\n"), 0o600))
	token, err := rereadfile.OpenText("token", nil, path)
	require.NoError(t, err)
	ids := record(t, s, 3)
	uploading(t, s, c, func(o *decisionlog.UploadOptions) { o.Token = token.Get })
	require.Eventually(t, func() bool { return len(c.mistakes()) > 0 }, patience, 5*time.Millisecond, "it is refused")

	require.NoError(t, os.WriteFile(path, []byte(c.token+"\n"), 0o600))
	require.Eventually(t, func() bool { return c.has(ids) }, patience, 5*time.Millisecond)
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	more := record(t, s, 3)
	require.Eventually(t, func() bool { return c.has(more) }, patience, 5*time.Millisecond, "an empty file empties nothing")
}
