package sqlite

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
)

func TestLookupsHaveConnectionsWhileListingsHaveAllOfTheReaders(t *testing.T) {
	s := openMigrated(t)
	for range s.file.Readers.Stats().MaxOpenConnections {
		held, err := s.file.Readers.Conn(t.Context())
		require.NoError(t, err)
		defer func(c *sql.Conn) { require.NoError(t, c.Close()) }(held)
	}

	facts, err := s.Facts(t.Context(), uuid.New())
	require.NoError(t, err)
	require.False(t, facts.Exists)
	_, err = s.Recorded(t.Context(), admission.RequestKey{UID: "uid"})
	require.ErrorIs(t, err, admission.ErrNotRecorded)
}

func openMigrated(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.Context(), Options{Path: filepath.Join(t.TempDir(), "gatehouse.db")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, s.Migrate(t.Context()))
	return s
}
