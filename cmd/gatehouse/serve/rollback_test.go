package serve_test

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/programtest"
)

// A signed bundle that is older than the one that was live last is refused after a restart, too, wherever it comes from,
// unless an operator accepts it.
func TestRestartRefusesAnOlderSignedBundle(t *testing.T) {
	t.Parallel()
	private, public := cmdtest.KeyFiles(t)
	folder := cmdtest.SmallFolder(t)
	older := programtest.Bundled(t, "--policies", folder, "--revision", "older", "--signing-key", private)
	newer := programtest.Bundled(t, "--policies", folder, "--revision", "newer", "--signing-key", private)
	shipped := filepath.Join(t.TempDir(), "policies.tar.gz")
	database := "--database-url=sqlite:" + filepath.Join(t.TempDir(), "gatehouse.db")
	args := []string{database, "--policies-key", public, "--policies-cache=none"}
	ship := func(bundle string) {
		archive, err := os.ReadFile(bundle)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(shipped, archive, 0o600))
	}
	live := func(more ...string) string {
		s := programtest.Serve(t, append(append(more, args...), "--policies", shipped)...)
		defer s.Stop()
		return programtest.PolicyStatus(t, s.URL).Bundle.Revision
	}
	ship(newer)
	require.Equal(t, "newer", live(), "nothing was live before")
	require.Equal(t, "newer", live(), "the same again")

	ship(older)
	web := httptest.NewServer(&programtest.Shelf{Archive: read(t, older)})
	defer web.Close()
	for _, source := range []string{shipped, "file:" + shipped, web.URL + "/b.tar.gz"} {
		refused := programtest.Command(t, "", append([]string{"serve", "--listen=127.0.0.1:0", "--policies", source}, args...)...)
		require.Equal(t, cli.ExitFailed, refused.Code)
		require.Contains(t, refused.Err, "rollback: the bundle was built at ")
		require.Contains(t, refused.Err, "revision newer, signed by ")
		require.Contains(t, refused.Err, "start with --allow-rollback to accept it")
		require.NotContains(t, refused.Err, `"serving"`)
	}

	require.Equal(t, "older", live("--allow-rollback"))
	require.Equal(t, "older", live(), "what was accepted is what was live last")
	ship(newer)
	require.Equal(t, "newer", live())
	ship(programtest.Bundled(t, "--policies", folder, "--revision", "newest", "--signing-key", private))
	require.Equal(t, "newest", live())
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return content
}
