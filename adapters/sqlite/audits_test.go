package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/sqlite"
)

// Of an audit of before its deployment and its facts were kept, nothing is claimed.
func TestAuditsOfTheVersionBefore(t *testing.T) {
	s := open(t, sqlite.Options{Path: filepath.Join(t.TempDir(), "gatehouse.db")})
	_, err := provider(t, s).UpTo(t.Context(), 5)
	require.NoError(t, err)
	_, err = s.Writer().ExecContext(t.Context(), `
		insert into audit_runs (id, hook, state, enforce, policy_revision, started_at, updated_at, worked_us, cursor,
		                        evaluated, denied, warned, failed, marked, violations)
		values ('01a20f50-99de-785c-8d11-7e683c308aff', 'register', 'running', 0, 'r1', '2026-04-01T12:00:00.000000Z',
		        '2026-04-01T12:00:00.000000Z', 0, '00000000-0000-0000-0000-000000000000', 5, 3, 0, 0, 0, '{}')`)
	require.NoError(t, err)

	for range 2 {
		require.NoError(t, s.Migrate(t.Context()))
		runs, err := s.Audits(t.Context(), 10)
		require.NoError(t, err)
		require.Len(t, runs, 1)
		require.Nil(t, runs[0].Deployment)
		require.Empty(t, runs[0].FactsRevision)
		require.False(t, runs[0].Candidate)
		require.EqualValues(t, 3, runs[0].Denied)
		_, err = provider(t, s).DownTo(t.Context(), 5)
		require.NoError(t, err)
	}
}
