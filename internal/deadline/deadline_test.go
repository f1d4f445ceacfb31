package deadline_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/internal/deadline"
)

func TestWithinEndsAtItsDeadline(t *testing.T) {
	watchers := map[string]func(ctx context.Context){
		"nobody has waited":     func(context.Context) {},
		"somebody has waited":   func(ctx context.Context) { _ = ctx.Done() },
		"somebody has looked":   func(ctx context.Context) { _ = ctx.Err() },
		"there is a descendant": func(ctx context.Context) { _, cancel := context.WithCancel(ctx); _ = cancel },
	}
	for name, watch := range watchers {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := deadline.Within(t.Context(), time.Second)
				defer cancel()
				watch(ctx)
				deadline, limited := ctx.Deadline()
				require.True(t, limited)
				require.Equal(t, time.Now().Add(time.Second), deadline)

				time.Sleep(time.Second - 1)
				synctest.Wait()
				require.NoError(t, ctx.Err())

				time.Sleep(time.Nanosecond)
				synctest.Wait()
				require.ErrorIs(t, ctx.Err(), context.DeadlineExceeded)
				<-ctx.Done()
				require.ErrorIs(t, context.Cause(ctx), context.DeadlineExceeded)
			})
		})
	}
}

func TestWithinWakesWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := deadline.Within(t.Context(), time.Second)
		defer cancel()
		started := time.Now()
		<-ctx.Done()
		require.Equal(t, time.Second, time.Since(started))
	})
}

func TestWithinEndsWhenItIsCancelledOrItsParentIs(t *testing.T) {
	for name, waits := range map[string]bool{"nobody has waited": false, "somebody has waited": true} {
		t.Run(name, func(t *testing.T) {
			parent, cancelParent := context.WithCancel(t.Context())
			defer cancelParent()
			own, cancelOwn := deadline.Within(parent, time.Hour)
			other, cancelOther := deadline.Within(parent, time.Hour)
			defer cancelOther()
			if waits {
				_, _ = own.Done(), other.Done()
			}
			cancelOwn()
			require.ErrorIs(t, own.Err(), context.Canceled)
			<-own.Done()
			require.NoError(t, other.Err(), "a brother goes on")
			require.NoError(t, parent.Err(), "and so does the parent")

			cancelParent()
			require.ErrorIs(t, other.Err(), context.Canceled)
			<-other.Done()
		})
	}
}

func TestWithinIsItsParentIfThatEndsSooner(t *testing.T) {
	parent, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	same, cancelSame := deadline.Within(parent, time.Hour)
	cancelSame()
	require.Equal(t, parent, same)
	require.NoError(t, same.Err(), "which is not for the child to end")
}

func TestDescendantsEndWithWithin(t *testing.T) {
	type key struct{}
	ctx, cancel := deadline.Within(context.WithValue(t.Context(), key{}, "value"), time.Hour)
	defer cancel()
	require.Equal(t, "value", ctx.Value(key{}))
	child, cancelChild := deadline.Within(ctx, time.Minute)
	defer cancelChild()
	detached := context.WithoutCancel(child)
	ended := make(chan struct{})
	stop := context.AfterFunc(child, func() { close(ended) })
	require.Equal(t, "value", child.Value(key{}), "also once somebody waits")

	cancel()
	<-ended
	require.False(t, stop())
	require.ErrorIs(t, child.Err(), context.Canceled)
	require.NoError(t, detached.Err())
}

func TestWithinIsOneDeadlineForAllWaiters(t *testing.T) {
	ctx, cancel := deadline.Within(t.Context(), time.Hour)
	defer cancel()
	var waiting sync.WaitGroup
	for range 8 {
		waiting.Go(func() {
			<-ctx.Done()
			_ = ctx.Err()
		})
	}
	_ = ctx.Err()
	cancel()
	waiting.Wait()
}
