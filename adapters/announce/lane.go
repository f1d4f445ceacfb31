package announce

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// lane is what the relay of one process knows of one sink.
type lane struct {
	sink    Sink
	retry   Retry
	timeout time.Duration
	turns   turns
	hold    hold
	disable sync.Mutex // by one attempt at a time, so that it is said once
	pause   pause
}

func newLane(sink Sink, options Options) *lane {
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

// hold keeps a sink from being tried for a while, because its receiver asked for
// that. Jobs that come meanwhile have not failed.
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

// pause is what is known of a queue that is paused. River tells its clients, but one that is just starting or connecting
// can miss that, and asks by itself once a minute only.
type pause struct {
	mu     sync.Mutex
	asked  time.Time
	paused bool
}

// askAgain is for how long an answer holds.
const askAgain = time.Second

// known asks whether a sink's queue is paused, unless somebody has just done so. If it cannot be found out, it is as
// before.
func (p *pause) known(ctx context.Context, queues func(context.Context) (queueControl, error), sink string) bool {
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
	queue, err := control.QueueGet(ctx, queueOf(sink))
	if err == nil {
		p.paused = queue.PausedAt != nil
	}
	return p.paused
}

// queueControl is what of River's client is needed to disable a sink. A queue that
// is paused is paused for all processes, and still is after a restart.
type queueControl interface {
	QueueGet(ctx context.Context, name string) (*rivertype.Queue, error)
	QueuePause(ctx context.Context, name string, opts *river.QueuePauseOpts) error
	QueueResume(ctx context.Context, name string, opts *river.QueuePauseOpts) error
	QueueUpdate(ctx context.Context, name string, params *river.QueueUpdateParams) (*rivertype.Queue, error)
}

// queueNote is what is written of a sink at its queue.
type queueNote struct {
	// EnabledAt is when an operator enabled the sink: retries begin anew with it.
	EnabledAt time.Time `json:"enabled_at,omitzero"`
	// Reason is why the sink is disabled.
	Reason string `json:"reason,omitzero"`
}

// disableSink says whether it was this call that disabled the sink.
func disableSink(ctx context.Context, queues queueControl, sink, reason string) (bool, error) {
	queue, err := queues.QueueGet(ctx, queueOf(sink))
	if err != nil {
		return false, fmt.Errorf("looking at the queue of sink %s: %w", sink, err)
	}
	if queue.PausedAt != nil {
		return false, nil
	}
	err = writeNote(ctx, queues, sink, queueNote{Reason: reason})
	if err != nil {
		return false, err
	}
	err = queues.QueuePause(ctx, queue.Name, nil)
	if err != nil {
		return false, fmt.Errorf("pausing the queue of sink %s: %w", sink, err)
	}
	return true, nil
}

func enableSink(ctx context.Context, queues queueControl, sink string) error {
	// The note comes first: a job that fails once more must find it.
	err := writeNote(ctx, queues, sink, queueNote{EnabledAt: time.Now().UTC()})
	if err != nil {
		return err
	}
	err = queues.QueueResume(ctx, queueOf(sink), nil)
	if err != nil {
		return fmt.Errorf("resuming the queue of sink %s: %w", sink, err)
	}
	return nil
}

func writeNote(ctx context.Context, queues queueControl, sink string, note queueNote) error {
	text, err := json.Marshal(note)
	if err == nil {
		_, err = queues.QueueUpdate(ctx, queueOf(sink), &river.QueueUpdateParams{Metadata: text})
	}
	if err != nil {
		return fmt.Errorf("writing a note at the queue of sink %s: %w", sink, err)
	}
	return nil
}

// enabledAt is zero for a sink that never was disabled.
func enabledAt(ctx context.Context, queues queueControl, sink string) (time.Time, error) {
	queue, err := queues.QueueGet(ctx, queueOf(sink))
	if errors.Is(err, rivertype.ErrNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("looking at the queue of sink %s: %w", sink, err)
	}
	var note queueNote
	err = json.Unmarshal(queue.Metadata, &note)
	if err != nil {
		return time.Time{}, fmt.Errorf("reading the note at the queue of sink %s: %w", sink, err)
	}
	return note.EnabledAt, nil
}
