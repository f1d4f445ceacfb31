package postgres_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// Whoever has policies refused again and again pushes out neither what was live last nor which signed bundle was.
func TestLastActivationsAreNotPruned(t *testing.T) {
	t.Parallel()
	h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent))
	record := func(id string, activation ledger.Activation) {
		activation.ID, activation.At = uuid.MustParse(id), time.Now()
		require.NoError(t, h.store.RecordActivation(t.Context(), activation))
	}
	signed := &ledger.Bundle{Revision: "v1", BuiltAt: time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC), SignedBy: "0123456789abcdef"}
	record("01000000-0000-7000-8000-000000000000", ledger.Activation{Revision: "r1", Activated: true, Bundle: signed})
	record("01000000-0000-7000-8000-000000000001", ledger.Activation{Revision: "r2", Activated: true})
	h.exec(t, `
insert into gatehouse.policy_activations (id, at, source, revision, result, reason)
select ('01000000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, now(), 's', '', 'refused', 'r'
from generate_series(2, 10100) i`)

	record("01000000-0000-7000-9000-000000000000", ledger.Activation{Reason: "once more"})

	var rows int
	require.NoError(t, h.registry.QueryRow(t.Context(), "select count(*) from gatehouse.policy_activations").Scan(&rows))
	require.Equal(t, 10_003, rows, "what is recorded comes on top of what was kept")
	last, err := h.store.LastSigned(t.Context())
	require.NoError(t, err)
	require.Equal(t, signed, last)
	live, err := h.store.LiveRevision(t.Context())
	require.NoError(t, err)
	require.Equal(t, "r2", live)
}
