package programtest

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// DemoFile is an SQLite file with the demo workspaces, which no server has open.
func DemoFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	s := Serve(t, "--demo", "--database-url", "sqlite:"+path)
	s.WaitReady()
	require.Zero(t, s.Stop())
	return "sqlite:" + path
}
