package serve_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/programtest"
	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

func TestServeDeletesWhatIsOlderThanItsRetention(t *testing.T) {
	t.Parallel()
	old, young := cmdtest.DecisionMade(t, 40*24*time.Hour), cmdtest.DecisionMade(t, time.Hour)
	for kind, url := range map[string]string{
		"sqlite":   "sqlite:" + filepath.Join(t.TempDir(), "gatehouse.db"),
		"postgres": testenv.DatabaseURL(t, testenv.RegistryCurrent),
	} {
		t.Run(kind, func(t *testing.T) {
			store := cmdtest.StoreAt(t, url)
			require.NoError(t, store.Migrate(t.Context()))
			for _, d := range []admission.Decision{old, young} {
				_, err := store.Record(t.Context(), d)
				require.NoError(t, err)
			}

			programtest.Serve(t, "--database-url", url, "--retention", "720h")

			require.Eventually(t, func() bool {
				_, err := store.Decision(t.Context(), old.ID)
				return errors.Is(err, ledger.ErrNoDecision)
			}, cmdtest.Patience, 10*time.Millisecond)
			_, err := store.Decision(t.Context(), young.ID)
			require.NoError(t, err)
		})
	}
}
