package sqlite_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/sqlite"
)

func TestExclusiveRightEndsWithAKilledProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	s := openDemo(t, sqlite.Options{Path: path})
	other := startChild(t, auditing, path)
	require.Equal(t, "true", other.line(t))
	require.False(t, holds(t, s, "audit"))

	require.NoError(t, other.cmd.Process.Kill())
	_ = other.cmd.Wait()

	require.True(t, holds(t, s, "audit"))
}

func TestRightOutlivesTheContextThatItWasAskedForWith(t *testing.T) {
	s := openDemo(t, sqlite.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	release, _, held, err := s.Exclusive(ctx, "audit")
	require.NoError(t, err)
	require.True(t, held)
	cancel()
	require.False(t, holds(t, s, "audit"))
	_, _, _, err = s.Exclusive(ctx, "another")
	require.ErrorIs(t, err, context.Canceled)

	release()
	require.True(t, holds(t, s, "audit"))
}

func TestExclusiveRightMayHaveAnyName(t *testing.T) {
	s := openDemo(t, sqlite.Options{})
	for _, name := range []string{"../up/audit", "https://collector.example.com/logs?a=b", "a b+c%2F"} {
		require.True(t, holds(t, s, name), name)
	}
}

// holds asks for a right and gives it back.
func holds(t *testing.T, s *sqlite.Store, name string) bool {
	t.Helper()
	release, _, held, err := s.Exclusive(t.Context(), name)
	require.NoError(t, err)
	if held {
		release()
	}
	return held
}
