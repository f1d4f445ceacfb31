package postgres_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/internal/testenv"
)

// heard counts the notifications of events until the test ends.
func heard(t *testing.T, url string) *atomic.Int64 {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "listen gatehouse_events")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	count := new(atomic.Int64)
	var listening sync.WaitGroup
	listening.Go(func() {
		for {
			_, err := conn.WaitForNotification(ctx)
			if err != nil {
				return
			}
			count.Add(1)
		}
	})
	t.Cleanup(func() {
		stop()
		listening.Wait()
		_ = conn.Close(context.Background()) // its wait was broken off
	})
	return count
}

// A notification is a transaction that every replica hears of: it must not come with each deny of a busy server.
func TestDeniesThatFollowEachOtherAreToldOfTogether(t *testing.T) {
	const denies, pause = 60, 5 * time.Millisecond
	url := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	h := newHarness(t, url)
	told := heard(t, url)
	ids := h.putWorkspaces(t, denies)

	began := time.Now()
	for _, id := range ids {
		_, err := h.mark(t.Context(), t, deniedDecision(t, id))
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return told.Load() > 0 }, patience, time.Millisecond)
	notifications := told.Load()
	require.LessOrEqual(t, notifications, int64(time.Since(began)/pause)+1)

	before := told.Load()
	_, err := h.mark(t.Context(), t, deniedDecision(t, h.platformRow(t)))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return told.Load() > before }, patience, time.Millisecond, "the last one is told of, too")
}
