// Package groupcommit writes what concurrent callers bring in shared batches, so that durability costs one
// commit for many records and not one each.
//
// Nobody waits for company: where no flush is under way, whatever is queued is taken, be it a single item, and what
// comes meanwhile is the next batch. So a lone caller pays no delay, and the batches grow by themselves as the load
// does. A flush that takes too long is overtaken by another one, so that what is stuck holds up its own batch only.
// The package knows nothing of databases; a flush function does the writing.
package groupcommit

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// ErrClosed is given to callers who come after Close.
var ErrClosed = errors.New("group commit is closed")

// Flush writes a batch, all of it or nothing, and gives one result per item, in order. Its context ends at
// the latest deadline of the batch's callers and is not cancelled by any of them. An item can come a second
// time, alone, after its batch failed. It may be written by then, where what failed was to hear of it: to write the same
// item again must do no harm, and its result must be that of what is written.
type Flush[T, R any] func(ctx context.Context, batch []T) ([]R, error)

// Options bound a Group. The zero value means one flusher and batches of at most 256 items.
type Options struct {
	MaxBatch int // most items of one flush
	Flushers int // most flushes at a time
	// Overtake is how long a flush may take until the next one begins beside it. Zero means that they do not wait for
	// each other, which splits the same load into more and smaller batches.
	Overtake time.Duration
	// Hopeless says that the error of a flush is of the store and not of an item: then no item is tried alone. A store
	// that is full or locked would otherwise be asked once more for each of them. Nil takes no error for hopeless.
	Hopeless func(error) bool
}

const defaultMaxBatch = 256

// Group gathers items and flushes them together. It is safe for concurrent use and owns its flushers, which
// Close stops.
type Group[T, R any] struct {
	flush    Flush[T, R]
	maxBatch int
	overtake time.Duration
	hopeless func(error) bool
	flushers sync.WaitGroup

	mu     sync.Mutex
	work   *sync.Cond // something is queued and may be taken, or closed is set
	queue  []*entry[T, R]
	quick  bool // a flush is under way that is not to be overtaken yet
	closed bool
}

// entry is one caller's item on its way.
type entry[T, R any] struct {
	ctx  context.Context
	item T
	done chan result[R] // holds one, so that a flusher never waits for a caller who left
}

type result[R any] struct {
	value R
	err   error
}

// New starts the flushers of a Group.
func New[T, R any](options Options, flush Flush[T, R]) *Group[T, R] {
	g := &Group[T, R]{flush: flush, maxBatch: options.MaxBatch, overtake: options.Overtake, hopeless: options.Hopeless}
	g.work = sync.NewCond(&g.mu)
	if g.hopeless == nil {
		g.hopeless = func(error) bool { return false }
	}
	if g.maxBatch <= 0 {
		g.maxBatch = defaultMaxBatch
	}
	for range max(1, options.Flushers) {
		g.flushers.Go(g.run)
	}
	return g
}

// Do has item written and gives its result once the flush has returned. When ctx ends first, Do returns its
// error at once: an item that still is queued then is dropped, but one that is being written may become
// durable all the same.
func (g *Group[T, R]) Do(ctx context.Context, item T) (R, error) {
	var none R
	if err := ctx.Err(); err != nil {
		return none, err
	}
	e := &entry[T, R]{ctx: ctx, item: item, done: make(chan result[R], 1)}
	if !g.enqueue(e) {
		return none, ErrClosed
	}

	select {
	case r := <-e.done:
		return r.value, r.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// Close refuses new items, waits until those that are queued are written, and stops the flushers.
func (g *Group[T, R]) Close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.work.Broadcast()
	g.flushers.Wait()
}

func (g *Group[T, R]) enqueue(e *entry[T, R]) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.queue = append(g.queue, e)
	if !g.quick { // else whoever is at it comes back for this one
		g.work.Signal()
	}
	return true
}

func (g *Group[T, R]) run() {
	for {
		if g.idle() {
			// The callers that the last flush has woken are about to come again, and are no use to anybody in a batch each.
			// This lets those go first that could go anyway, and waits for none.
			runtime.Gosched()
		}
		batch, more := g.next()
		if !more {
			return
		}
		done := g.begin()
		g.write(batch)
		done()
	}
}

func (g *Group[T, R]) idle() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.queue) == 0
}

// begin has the next flush wait for this one until it is done or takes too long.
func (g *Group[T, R]) begin() (done func()) {
	if g.overtake <= 0 {
		return func() {}
	}
	// A flush that is overtaken has given its place to another one, and has nothing to give back.
	var given sync.Once
	timer := time.AfterFunc(g.overtake, func() { given.Do(g.overtaken) })
	return func() {
		timer.Stop()
		given.Do(g.finished)
	}
}

// overtaken has another flusher go on.
func (g *Group[T, R]) overtaken() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.quick = false
	g.work.Signal()
}

// finished wakes nobody: the flusher that comes from its flush takes what has come meanwhile. To wake the others for
// every item, or after every flush, only to find that there is nothing to do, costs as much as a statement.
func (g *Group[T, R]) finished() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.quick = false
	if g.closed {
		g.work.Broadcast() // all have to go
	}
}

// next waits for queued items and takes those whose callers still wait. It gives false once the group is
// closed and empty.
func (g *Group[T, R]) next() ([]*entry[T, R], bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.queue) == 0 || g.quick {
		if g.closed && len(g.queue) == 0 {
			return nil, false
		}
		g.work.Wait()
	}
	g.quick = g.overtake > 0

	n := min(len(g.queue), g.maxBatch)
	batch := make([]*entry[T, R], 0, n)
	for _, e := range g.queue[:n] {
		// While a database is away callers give up one after the other. What they left behind must not be the
		// first load on it when it comes back.
		if e.ctx.Err() == nil {
			batch = append(batch, e)
		}
	}
	rest := copy(g.queue, g.queue[n:])
	clear(g.queue[rest:])
	g.queue = g.queue[:rest]
	return batch, true
}

// write flushes a batch. If that fails, each item is tried alone, so that one record that cannot be written
// does not fail its neighbours, unless the error is hopeless. One that was alone is not tried again: whatever became of
// it, its caller gets the error.
func (g *Group[T, R]) write(batch []*entry[T, R]) {
	if len(batch) == 0 {
		return
	}
	values, err := g.attempt(batch)
	if err != nil && len(batch) > 1 && !g.hopeless(err) {
		for i := range batch {
			g.write(batch[i : i+1])
		}
		return
	}
	for i, e := range batch {
		if err != nil {
			e.done <- result[R]{err: err}
			continue
		}
		e.done <- result[R]{value: values[i]}
	}
}

func (g *Group[T, R]) attempt(batch []*entry[T, R]) ([]R, error) {
	ctx, cancel := flushContext(batch)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return nil, err
	}

	items := make([]T, len(batch))
	for i, e := range batch {
		items[i] = e.item
	}
	values, err := g.guarded(ctx, items)
	if err == nil && len(values) != len(items) {
		err = fmt.Errorf("flush gave %d results for %d items", len(values), len(items))
	}
	return values, err
}

// guarded makes a panic of the flush its error: on a goroutine that no caller owns it would end the process.
func (g *Group[T, R]) guarded(ctx context.Context, items []T) (values []R, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			values, err = nil, fmt.Errorf("flush panicked: %v", cause)
		}
	}()
	return g.flush(ctx, items)
}

// flushContext lasts as long as the most patient caller of the batch waits.
func flushContext[T, R any](batch []*entry[T, R]) (context.Context, context.CancelFunc) {
	var latest time.Time
	for _, e := range batch {
		deadline, limited := e.ctx.Deadline()
		if !limited {
			return context.WithCancel(context.Background())
		}
		if deadline.After(latest) {
			latest = deadline
		}
	}
	return context.WithDeadline(context.Background(), latest)
}
