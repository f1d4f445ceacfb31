package serve_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/programtest"
)

func TestPoliciesThatAreRefusedLeaveTheStoreAlone(t *testing.T) {
	t.Parallel()
	database := filepath.Join(t.TempDir(), "gatehouse.db")
	got := programtest.Command(t, "", "serve", "--listen=127.0.0.1:0", "--policies=/nowhere", "--database-url=sqlite:"+database)
	require.Equal(t, cli.ExitFailed, got.Code)
	require.Contains(t, got.Err, "the policies were refused")
	require.NoFileExists(t, database)
}
