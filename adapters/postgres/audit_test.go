package postgres_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/internal/testenv"
)

// Of an audit of before its deployment and its facts were kept, nothing is claimed.
func TestAuditsOfTheVersionBefore(t *testing.T) {
	t.Parallel()
	url := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	schema := atVersion(t, url, 6)
	store := open(t, url)
	_, err := store.Pool().Exec(t.Context(), `
insert into gatehouse.audit_runs (id, hook, state, enforce, policy_revision, started_at, updated_at, worked_us, cursor,
    evaluated, denied, warned, failed, marked, violations)
values (gen_random_uuid(), 'register', 'running', false, 'r1', now(), now(), 0, gen_random_uuid(), 5, 3, 0, 0, 0, '{}')`)
	require.NoError(t, err)

	for range 2 {
		require.NoError(t, store.Migrate(t.Context()))
		runs, err := store.Audits(t.Context(), 10)
		require.NoError(t, err)
		require.Len(t, runs, 1)
		require.Nil(t, runs[0].Deployment)
		require.Empty(t, runs[0].FactsRevision)
		require.False(t, runs[0].Candidate)
		require.EqualValues(t, 3, runs[0].Denied)
		store.Pool().Reset() // what it has prepared names columns that are dropped now
		_, err = schema.DownTo(t.Context(), 6)
		require.NoError(t, err)
	}
}
