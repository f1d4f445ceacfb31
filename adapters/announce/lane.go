package announce

import (
	"context"
	"sync"
	"time"

	"github.com/molecule-ai/gatehouse/adapters/announce/queue"
	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
)

// lane is what the relay of one process knows of one sink.
type lane struct {
	sink    sinks.Sink
	retry   Retry
	timeout time.Duration
	slots   workspaceSlots
	hold    hold
	disable sync.Mutex // held by the attempt that disables the sink, so that it is logged once
	pause   pause
}

func newLane(sink sinks.Sink, options Options) *lane {
	made := &lane{sink: sink, retry: options.Retry, timeout: attemptTimeout}
	own, ok := sink.(configured)
	if !ok {
		return made
	}
	made.sink = own.Sink
	if own.retryFor > 0 {
		made.retry.For = own.retryFor
	}
	if own.timeout > 0 {
		made.timeout = own.timeout
	}
	return made
}

// hold is how long a receiver asked to be left alone. Jobs that come meanwhile have not failed.
type hold struct {
	mu    sync.Mutex
	until time.Time
}

func (h *hold) extend(duration time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	until := time.Now().Add(duration)
	if until.After(h.until) {
		h.until = until
	}
}

func (h *hold) remaining() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return max(0, time.Until(h.until))
}

// pause is whether the sink's queue is known to be paused. River tells its clients, but one that is just starting or connecting
// misses that, and asks only once a minute.
type pause struct {
	mu     sync.Mutex
	asked  time.Time
	paused bool
}

// askAgain is for how long an answer holds.
const askAgain = time.Second

// known says whether the sink's queue is paused. It asks at most once in each askAgain. If asking fails, the last answer
// holds.
func (p *pause) known(ctx context.Context, queues func(context.Context) (queue.Control, error), sink string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.asked) < askAgain {
		return p.paused
	}
	p.asked = time.Now()
	control, err := queues(ctx)
	if err != nil {
		return p.paused
	}
	found, err := control.QueueGet(ctx, queue.Of(sink))
	if err == nil {
		p.paused = found.PausedAt != nil
	}
	return p.paused
}
