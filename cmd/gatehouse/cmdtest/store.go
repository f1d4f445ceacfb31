package cmdtest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/migration"
	"github.com/molecule-ai/gatehouse/adapters/postgres"
	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

func RecordIn(t *testing.T, store recordStore, ago time.Duration) string {
	t.Helper()
	d := DecisionMade(t, ago)
	_, err := store.Record(t.Context(), d)
	require.NoError(t, err)
	return d.ID.String()
}

// recordStore is a store beside the one that serves.
type recordStore interface {
	migration.Migrator
	Record(ctx context.Context, d admission.Decision) (admission.Decision, error)
	Decision(ctx context.Context, id uuid.UUID) (ledger.Decision, error)
}

func StoreAt(t *testing.T, url string) recordStore {
	t.Helper()
	if path, isSQLite := strings.CutPrefix(url, "sqlite:"); isSQLite {
		store, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, store.Close()) })
		return store
	}
	store, err := postgres.Open(t.Context(), postgres.Options{URL: url, MaxConns: 2})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	return store
}

func DecisionMade(t *testing.T, ago time.Duration) admission.Decision {
	t.Helper()
	at := time.Now().UTC().Add(-ago).Truncate(time.Microsecond)
	id, err := admission.NewDecisionID(at)
	require.NoError(t, err)
	return admission.Decision{
		ID: id, At: at, Hook: "register", CallerProof: admission.Token, WorkspaceID: uuid.New(), Kind: "workspace",
		Input: []byte(`{}`), Verdict: admission.NewVerdict(nil, "revision-1"),
	}
}
