package postgres

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func TestWorkspaceLockIsHeldByOneAtATimeAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k workspaceLock
		id := uuid.New()
		inside, most := 0, 0
		var running sync.WaitGroup
		for range 20 {
			running.Go(func() {
				unlock, err := k.lock(t.Context(), id)
				if err != nil {
					t.Error(err)
					return
				}
				defer unlock()
				inside++
				most = max(most, inside)
				time.Sleep(time.Millisecond) // of the bubble's clock
				inside--
			})
		}
		running.Wait()

		require.Equal(t, 1, most)
		require.Empty(t, k.held)
	})
}

func TestWorkspaceLockHoldsUpNoOtherWorkspace(t *testing.T) {
	var k workspaceLock
	unlock, err := k.lock(t.Context(), uuid.New())
	require.NoError(t, err)
	defer unlock()

	other, err := k.lock(t.Context(), uuid.New())

	require.NoError(t, err)
	other()
}

func TestWorkspaceLockLeavesTheQueueWhenItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k workspaceLock
		id := uuid.New()
		unlock, err := k.lock(t.Context(), id)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()

		_, err = k.lock(ctx, id)

		require.ErrorIs(t, err, context.DeadlineExceeded)
		unlock()
		require.Empty(t, k.held)
	})
}
