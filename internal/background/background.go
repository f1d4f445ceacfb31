// Package background runs tasks until their owner closes them.
package background

import (
	"context"
	"sync"
)

// Tasks runs until its owner waits for it.
type Tasks struct {
	running sync.WaitGroup
	stop    context.CancelFunc
}

func Start(ctx context.Context, tasks ...func(context.Context)) *Tasks {
	ctx, stop := context.WithCancel(ctx)
	b := &Tasks{stop: stop}
	for _, task := range tasks {
		b.running.Go(func() { task(ctx) })
	}
	return b
}

func (b *Tasks) Close() {
	b.stop()
	b.running.Wait()
}
