package groupcommit_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/molecule-ai/gatehouse/internal/groupcommit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a flush that remembers its batches; hold, if set, keeps each flush until it is closed.
type recorder struct {
	mu      sync.Mutex
	batches [][]int
	started chan struct{}
	hold    chan struct{}
	poison  int
}

var errPoison = errors.New("cannot be written")

func (r *recorder) flush(_ context.Context, batch []int) ([]int, error) {
	if r.started != nil {
		r.started <- struct{}{}
		<-r.hold
	}
	if r.poison != 0 && slices.Contains(batch, r.poison) {
		return nil, errPoison
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.batches = append(r.batches, slices.Clone(batch))
	doubled := make([]int, len(batch))
	for i, n := range batch {
		doubled[i] = 2 * n
	}
	return doubled, nil
}

func (r *recorder) written() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(slices.Values(slices.Concat(r.batches...)))
}

func TestLoneItemIsWrittenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		g := groupcommit.New(groupcommit.Options{}, r.flush)
		defer g.Close()
		start := time.Now()

		got, err := g.Do(t.Context(), 21)

		require.NoError(t, err)
		require.Equal(t, 42, got)
		require.Zero(t, time.Since(start))
	})
}

func TestItemsThatComeDuringAFlushAreWrittenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{started: make(chan struct{}), hold: make(chan struct{})}
		g := groupcommit.New(groupcommit.Options{MaxBatch: 3}, r.flush)
		defer g.Close()

		var callers sync.WaitGroup
		callers.Go(func() { _, _ = g.Do(t.Context(), 1) })
		<-r.started
		for n := 2; n <= 6; n++ {
			callers.Go(func() { _, _ = g.Do(t.Context(), n) })
			synctest.Wait()
		}
		close(r.hold)
		<-r.started
		<-r.started
		callers.Wait()

		require.Equal(t, [][]int{{1}, {2, 3, 4}, {5, 6}}, r.batches)
	})
}

func TestFlushIsOvertakenOnlyWhenItTakesTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{started: make(chan struct{}, 100), hold: make(chan struct{})}
		g := groupcommit.New(groupcommit.Options{Flushers: 2, Overtake: time.Second}, r.flush)
		defer g.Close()
		begun := func() int { synctest.Wait(); return len(r.started) }

		var callers sync.WaitGroup
		ask := func(n int) { callers.Go(func() { _, _ = g.Do(t.Context(), n) }) }
		ask(1)
		require.Equal(t, 1, begun())
		ask(2)
		require.Equal(t, 1, begun())
		ask(3)
		time.Sleep(time.Second - 1)
		require.Equal(t, 1, begun())
		time.Sleep(time.Nanosecond)
		require.Equal(t, 2, begun(), "the first takes a second")
		ask(4)
		time.Sleep(time.Minute)
		require.Equal(t, 2, begun(), "there are two flushers")
		close(r.hold)
		callers.Wait()

		require.Equal(t, []int{1, 2, 3, 4}, r.written())
		require.Len(t, r.batches, 3, "2 and 3 share one")
	})
}

func TestFlushThatEndsInTimeLetsTheNextOneBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		g := groupcommit.New(groupcommit.Options{Flushers: 3, Overtake: time.Hour}, r.flush)
		start := time.Now()
		for n := range 100 {
			_, err := g.Do(t.Context(), n)
			require.NoError(t, err)
		}
		g.Close()
		require.Zero(t, time.Since(start))
	})
}

func TestCallerStopsWaitingWhenItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{started: make(chan struct{}), hold: make(chan struct{})}
		g := groupcommit.New(groupcommit.Options{}, r.flush)
		defer g.Close()

		var callers sync.WaitGroup
		callers.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := g.Do(ctx, 1)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
		})
		<-r.started
		callers.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := g.Do(ctx, 2)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
		})
		callers.Wait()
		close(r.hold)
		synctest.Wait()

		require.Equal(t, []int{1}, r.written(), "1 was being written, 2 was left in the queue")
	})
}

func TestFlushLastsAsLongAsTheMostPatientCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var deadlines []time.Time
		first, hold := make(chan struct{}), make(chan struct{})
		g := groupcommit.New(groupcommit.Options{}, func(ctx context.Context, batch []int) ([]int, error) {
			if batch[0] == 0 {
				close(first)
				<-hold
				return batch, nil
			}
			deadline, _ := ctx.Deadline()
			deadlines = append(deadlines, deadline)
			return batch, nil
		})
		defer g.Close()
		start := time.Now()

		var callers sync.WaitGroup
		callers.Go(func() { _, _ = g.Do(t.Context(), 0) })
		<-first
		for n := 1; n <= 3; n++ {
			callers.Go(func() {
				ctx, cancel := context.WithDeadline(t.Context(), start.Add(time.Duration(n)*time.Second))
				defer cancel()
				_, err := g.Do(ctx, n)
				assert.NoError(t, err)
			})
		}
		synctest.Wait()
		close(hold)
		callers.Wait()

		require.Equal(t, []time.Time{start.Add(3 * time.Second)}, deadlines)
	})
}

func TestOnePoisonedItemDoesNotFailItsNeighbours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{started: make(chan struct{}, 100), hold: make(chan struct{}), poison: 3}
		g := groupcommit.New(groupcommit.Options{}, r.flush)
		defer g.Close()

		var callers sync.WaitGroup
		for n := 1; n <= 5; n++ {
			callers.Go(func() {
				got, err := g.Do(t.Context(), n)
				if n == 3 {
					assert.ErrorIs(t, err, errPoison)
					return
				}
				assert.NoError(t, err)
				assert.Equal(t, 2*n, got)
			})
		}
		synctest.Wait()
		close(r.hold)
		callers.Wait()

		require.Equal(t, []int{1, 2, 4, 5}, r.written())
	})
}

func TestHopelessErrorFailsTheWholeBatchAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{started: make(chan struct{}, 100), hold: make(chan struct{}), poison: 3}
		g := groupcommit.New(groupcommit.Options{Hopeless: func(err error) bool { return errors.Is(err, errPoison) }}, r.flush)
		defer g.Close()

		var callers sync.WaitGroup
		ask := func(n int) {
			callers.Go(func() {
				_, err := g.Do(t.Context(), n)
				assert.Equal(t, n == 1, err == nil, n)
			})
			synctest.Wait()
		}
		for n := 1; n <= 5; n++ {
			ask(n)
		}
		close(r.hold)
		callers.Wait()

		require.Equal(t, []int{1}, r.written())
		require.Len(t, r.started, 2, "1 alone, and then the others once")
	})
}

func TestFlushWithTooFewResultsIsAnError(t *testing.T) {
	g := groupcommit.New(groupcommit.Options{}, func(context.Context, []int) ([]int, error) { return nil, nil })
	defer g.Close()

	_, err := g.Do(t.Context(), 1)

	require.ErrorContains(t, err, "0 results for 1 items")
}

func TestCloseWritesWhatIsQueuedAndThenRefuses(t *testing.T) {
	for name, options := range map[string]groupcommit.Options{
		"one flusher": {},
		"several, of which one is at work while the others wait": {Flushers: 3, Overtake: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { requireCloseWritesAll(t, options) })
		})
	}
}

func requireCloseWritesAll(t *testing.T, options groupcommit.Options) {
	t.Helper()
	r := &recorder{started: make(chan struct{}, 100), hold: make(chan struct{})}
	g := groupcommit.New(options, r.flush)
	var callers sync.WaitGroup
	for n := 1; n <= 4; n++ {
		callers.Go(func() {
			_, err := g.Do(t.Context(), n)
			assert.NoError(t, err)
		})
		synctest.Wait() // the first is under way, and the others are queued
	}
	callers.Go(g.Close)
	synctest.Wait()

	_, err := g.Do(t.Context(), 5)
	require.ErrorIs(t, err, groupcommit.ErrClosed)

	close(r.hold)
	callers.Wait()
	require.Equal(t, []int{1, 2, 3, 4}, r.written())
}

func TestEveryItemIsWrittenOnceAndItsResultReachesItsCaller(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		callers := rapid.IntRange(1, 40).Draw(rt, "callers")
		each := rapid.IntRange(1, 10).Draw(rt, "each")
		options := groupcommit.Options{
			MaxBatch: rapid.IntRange(1, 16).Draw(rt, "max batch"),
			Flushers: rapid.IntRange(1, 3).Draw(rt, "flushers"),
			Overtake: time.Duration(rapid.SampledFrom([]int64{0, 1, 1e4, 1e12}).Draw(rt, "overtake")),
		}
		r := &recorder{}
		g := groupcommit.New(options, r.flush)

		var running sync.WaitGroup
		var want []int
		for c := range callers {
			for i := range each {
				want = append(want, c*each+i)
			}
			running.Go(func() {
				for i := range each {
					n := c*each + i
					got, err := g.Do(context.Background(), n)
					if err != nil || got != 2*n {
						panic("a result went to the wrong caller")
					}
				}
			})
		}
		running.Wait()
		g.Close()

		require.Equal(rt, want, r.written())
		for _, batch := range r.batches {
			require.LessOrEqual(rt, len(batch), options.MaxBatch)
		}
	})
}

// A flush runs on a goroutine of the group, where a panic that nobody catches ends the process.
func TestFlushPanicIsAnErrorOfTheItemThatCausesIt(t *testing.T) {
	r := &recorder{started: make(chan struct{}), hold: make(chan struct{})}
	g := groupcommit.New(groupcommit.Options{}, func(ctx context.Context, batch []int) ([]int, error) {
		if slices.Contains(batch, 2) {
			panic("two")
		}
		return r.flush(ctx, batch)
	})
	defer g.Close()
	var asking sync.WaitGroup
	defer asking.Wait()
	asking.Go(func() { _, _ = g.Do(t.Context(), 0) })
	<-r.started // what comes now is one batch
	r.started = nil
	results, errs := make([]int, 3), make([]error, 3)
	for i := range results {
		asking.Go(func() { results[i], errs[i] = g.Do(t.Context(), i+1) })
	}
	close(r.hold)
	asking.Wait()

	require.NoError(t, errs[0])
	require.ErrorContains(t, errs[1], "flush panicked: two")
	require.NoError(t, errs[2])
	require.Equal(t, []int{2, 0, 6}, results)
}
