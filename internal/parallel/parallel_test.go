package parallel_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/internal/parallel"
)

func TestEachTakesEveryItemOnce(t *testing.T) {
	for _, n := range []int{0, 1, 7, 1000} {
		seen := make([]int, n)
		err := parallel.Each(t.Context(), 4, n, func(_ context.Context, i int) error {
			seen[i]++
			return nil
		})
		require.NoError(t, err)
		for i, times := range seen {
			require.Equal(t, 1, times, "item %d of %d", i, n)
		}
	}
}

func TestEachHasAsManyItemsUnderWayAsWorkers(t *testing.T) {
	const workers = 5
	var together sync.WaitGroup // ends only if all workers are in do at once
	together.Add(workers)
	var now, most atomic.Int64
	err := parallel.Each(t.Context(), workers, 10*workers, func(_ context.Context, i int) error {
		most.Store(max(most.Load(), now.Add(1)))
		defer now.Add(-1)
		if i < workers {
			together.Done()
			together.Wait()
		}
		return nil
	})
	require.NoError(t, err)
	require.LessOrEqual(t, most.Load(), int64(workers))
}

func TestEachTakesNoItemAfterAnError(t *testing.T) {
	broken := errors.New("the third")
	var calls atomic.Int64
	err := parallel.Each(t.Context(), 2, 1000, func(ctx context.Context, i int) error {
		calls.Add(1)
		if i == 2 {
			return broken
		}
		if i > 2 {
			<-ctx.Done() // the error ends it
		}
		return nil
	})
	require.ErrorIs(t, err, broken)
	require.LessOrEqual(t, calls.Load(), int64(5))
}

func TestEachEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var calls atomic.Int64
	err := parallel.Each(ctx, 2, 1000, func(context.Context, int) error {
		if calls.Add(1) == 3 {
			cancel()
		}
		return nil
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, calls.Load(), int64(1000))
}
