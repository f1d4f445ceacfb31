package sqlite_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// Whoever has policies refused again and again pushes out neither what was live last nor which signed bundle was.
func TestLastActivationsAreNotPruned(t *testing.T) {
	s := openDemo(t, sqlite.Options{})
	record := func(id string, activation ledger.Activation) {
		activation.ID, activation.At = uuid.MustParse(id), time.Now()
		require.NoError(t, s.RecordActivation(t.Context(), activation))
	}
	signed := &ledger.Bundle{Revision: "v1", BuiltAt: time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC), SignedBy: "0123456789abcdef"}
	record("01000000-0000-7000-8000-000000000000", ledger.Activation{Revision: "r1", Activated: true, Bundle: signed})
	record("01000000-0000-7000-8000-000000000001", ledger.Activation{Revision: "r2", Activated: true})
	_, err := s.Writer().ExecContext(t.Context(), `
with recursive n(i) as (select 2 union all select i + 1 from n where i < 10100)
insert into policy_activations (id, at, source, revision, result, reason)
select printf('01000000-0000-7000-8000-%012x', i), '2026-04-01T00:00:00.000000Z', 's', '', 'refused', 'r' from n`)
	require.NoError(t, err)

	record("01000000-0000-7000-9000-000000000000", ledger.Activation{Reason: "once more"})

	require.Equal(t, 10_002, count(t, s, `select count(*) from policy_activations`))
	last, err := s.LastSigned(t.Context())
	require.NoError(t, err)
	require.Equal(t, signed, last)
	live, err := s.LiveRevision(t.Context())
	require.NoError(t, err)
	require.Equal(t, "r2", live)
}
