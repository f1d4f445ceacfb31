package stream

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// defaultLinger is longer than the time after which a client that was disconnected comes back.
const defaultLinger = 30 * time.Second

// OnDemand is a Hub while it has readers, and for some time after: a ledger that grows fast is not read while
// nobody wants it. It is safe for concurrent use.
type OnDemand[T any] struct {
	ledger  Ledger[T]
	options Options
	linger  time.Duration

	mu      sync.Mutex
	hub     *Hub[T] // nil while there is none
	readers int
	idle    *time.Timer // ends the hub, nil while there are readers
	closed  bool
	ending  sync.WaitGroup
}

// NewOnDemand makes what makes a Hub when it has readers. linger is for how long it stays without any; 0 stands
// for half a minute.
func NewOnDemand[T any](ledger Ledger[T], options Options, linger time.Duration) *OnDemand[T] {
	return &OnDemand[T]{ledger: ledger, options: options, linger: cmp.Or(linger, defaultLinger)}
}

// Subscribe is that of a Hub, but that the reader must not be used after ctx has ended, until when it counts.
func (o *OnDemand[T]) Subscribe(
	ctx context.Context, after int64,
) (next func(ctx context.Context) ([]Streamed[T], error), err error) {
	hub := o.enter()
	if hub == nil {
		return nil, &admission.Error{Code: admission.CodeNotReady, Detail: "shutting down", Err: ErrClosed}
	}
	context.AfterFunc(ctx, o.leave)
	return hub.Subscribe(ctx, after)
}

// Close ends all reading, and returns once it has ended.
func (o *OnDemand[T]) Close() {
	o.mu.Lock()
	o.closed = true
	o.end()
	o.mu.Unlock()
	o.ending.Wait()
}

func (o *OnDemand[T]) enter() *Hub[T] {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil
	}
	if o.hub == nil {
		o.hub = New(o.ledger, o.options)
		o.hub.Start()
	}
	if o.idle != nil {
		o.idle.Stop()
		o.idle = nil
	}
	o.readers++
	return o.hub
}

func (o *OnDemand[T]) leave() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.readers--
	if o.readers > 0 || o.hub == nil {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(o.linger, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.idle == timer { // else a reader came while this waited for the lock
			o.end()
		}
	})
	o.idle = timer
}

// end ends the hub, if there is one, aside from the caller, who has the lock: a read that hangs would hold it.
func (o *OnDemand[T]) end() {
	if o.idle != nil {
		o.idle.Stop()
		o.idle = nil
	}
	if o.hub == nil {
		return
	}
	hub := o.hub
	o.hub = nil
	o.ending.Go(hub.Close)
}
