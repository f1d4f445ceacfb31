package connection

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLookupsWaitForAConnectionAsLongAsTheContextLasts(t *testing.T) {
	file, err := Open(t.Context(), filepath.Join(t.TempDir(), "gatehouse.db"), 0, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer func() { require.NoError(t, file.Close()) }()
	lookups := file.Lookups
	ask := func(ctx context.Context) error { return lookups.Do(ctx, func(*Connection) error { return nil }) }
	size := cap(lookups.free)
	var lent []*Connection
	for range size {
		c, err := lookups.take(t.Context())
		require.NoError(t, err)
		lent = append(lent, c)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, ask(ctx), context.DeadlineExceeded)

	for _, c := range lent {
		lookups.free <- c
	}
	require.NoError(t, ask(t.Context()))
	require.Len(t, lookups.free, size, "every connection came back")
}
