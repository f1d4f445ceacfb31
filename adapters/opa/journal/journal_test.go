package journal

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// stoppingStore stops the journal during its first write, which fails.
type stoppingStore struct {
	stop context.CancelFunc
	once sync.Once
	kept []string
}

func (s *stoppingStore) RecordActivation(ctx context.Context, activation ledger.Activation) error {
	s.once.Do(s.stop)
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	s.kept = append(s.kept, activation.Revision)
	return nil
}

func TestJournalStoresTheRestAtTheStop(t *testing.T) {
	records := New(slog.New(slog.DiscardHandler))
	for _, revision := range []string{"first", "second", "third"} {
		records.Record(t.Context(), opa.Activation{Activation: ledger.Activation{Revision: revision, Activated: true}})
	}
	ctx, stop := context.WithCancel(t.Context())
	store := &stoppingStore{stop: stop}

	records.Run(ctx, store)

	require.ElementsMatch(t, []string{"first", "second", "third"}, store.kept)
}
