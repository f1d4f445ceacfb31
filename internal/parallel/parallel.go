// Package parallel works through many small items on a few goroutines.
package parallel

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// Each calls do for every i below n, on up to workers goroutines, and returns the first error. After an error no further item is
// taken, and the context of those under way has ended.
//
// Each worker takes the next item itself. An errgroup with a limit starts a goroutine for each item; where an item takes
// microseconds, as an evaluation does, that cost a third of the throughput (row "A batch" of make bench).
func Each(ctx context.Context, workers, n int, do func(ctx context.Context, i int) error) error {
	var taken atomic.Int64
	group, working := errgroup.WithContext(ctx)
	for range min(workers, n) {
		group.Go(func() error {
			for working.Err() == nil {
				i := int(taken.Add(1)) - 1
				if i >= n {
					return nil
				}
				err := do(working, i)
				if err != nil {
					return err
				}
			}
			return working.Err()
		})
	}
	return group.Wait()
}
