package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

const (
	defaultKeep = 1024
	defaultPoll = time.Second
	defaultOf   = "events"

	// page is how many items are read, or handed to a reader, at a time.
	page = 256
	// readTimeout ends a read that hangs, so that the next one can be tried.
	readTimeout = 5 * time.Second
	// readersCatchingUp bounds how many pages are read for readers that resume at a time. After a restart all of
	// them come at once, and admission needs the same database.
	readersCatchingUp = 2
	// startPatience is how long a reader waits for a Hub that has just been made.
	startPatience = 5 * time.Second
)

// FromNow is the position of a reader that wants what comes, and nothing of what was.
const FromNow int64 = -1

var (
	// ErrTooSlow is given to a reader that was so far behind that the Hub no longer has what it lacks. It may
	// come back and resume.
	ErrTooSlow = errors.New("the reader is too far behind")
	// ErrClosed is given to readers when the Hub is closed.
	ErrClosed = errors.New("the stream is closed")
)

// Options of a Hub. Zero values stand for the defaults.
type Options struct {
	Logger *slog.Logger  // nil for none
	Of     string        // what is streamed, for the log and for readers; events
	Keep   int           // items in memory, and so how far behind a reader may be; 1,024
	Poll   time.Duration // how often the ledger is looked at without being woken; 1 s
	// Listen calls wake when it begins to listen, and whenever the ledger may have grown, until ctx ends. Without
	// it the ledger is polled alone.
	Listen func(ctx context.Context, wake func())
}

// Hub follows a ledger, for any number of readers. It is safe for concurrent use.
//
// What makes this more than reading on from the last seq is that a lower seq can be committed after a higher one
// was read. The Hub remembers what it passed over (the gaps of a cut), reads it again whenever it reads, and
// forgets it once every transaction that may have taken it has ended; the ledger tells which do. Events
// beyond a gap are sent at once all the same.
//
// So readers of two Hubs may see events of two workspaces in another order, but never two of one workspace, and
// a reader's position is not the seq of what it got last but the watermark below which there is no gap. Who
// resumes at it may get again what came beyond the gap, and loses nothing.
type Hub[T any] struct {
	ledger  Ledger[T]
	options Options

	reading chan struct{} // holds one for each page that is read for a reader
	wake    chan struct{} // holds one when the ledger may have grown
	ready   chan struct{} // closed once cut is known

	start   sync.Once
	stop    context.CancelFunc
	stopped context.Context
	running sync.WaitGroup

	mu      sync.Mutex
	cut     cut
	kept    []*item[T] // what was read last, in the order in which it was read
	first   int64      // number of kept[0]; every item that is read gets the next number
	evicted int64      // greatest seq that is in cut and not in kept
	changed chan struct{}

	// Of the one goroutine that reads the ledger.
	round   int
	waiting []string // transactions whose end makes the Hub ready
	failing bool
}

// item is an entry that was read, and the watermark once it was. It is never changed.
type item[T any] struct {
	position int64
	Entry[T]
}

// New makes a Hub. It has no readers until it is started.
func New[T any](ledger Ledger[T], options Options) *Hub[T] {
	options.Keep, options.Poll = cmp.Or(options.Keep, defaultKeep), cmp.Or(options.Poll, defaultPoll)
	options.Of = cmp.Or(options.Of, defaultOf)
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	h := &Hub[T]{
		ledger: ledger, options: options,
		reading: make(chan struct{}, readersCatchingUp), wake: make(chan struct{}, 1), ready: make(chan struct{}),
		changed: make(chan struct{}),
	}
	h.stopped, h.stop = context.WithCancel(context.Background())
	return h
}

// Start begins to follow the ledger, in the background, until Close. The ledger may be away; its tables must
// have been migrated, or the log says that they were not.
func (h *Hub[T]) Start() {
	h.start.Do(func() {
		if h.stopped.Err() != nil {
			return
		}
		if h.options.Listen != nil {
			h.running.Go(func() { h.options.Listen(h.stopped, h.call) })
		}
		h.running.Go(func() { h.run(h.stopped) })
	})
}

// Close ends all reading, and returns once it has ended.
func (h *Hub[T]) Close() {
	h.stop()
	h.start.Do(func() {}) // not from now on
	h.running.Wait()
}

func (h *Hub[T]) call() {
	select {
	case h.wake <- struct{}{}:
	default: // it will read anyway
	}
}

func (h *Hub[T]) run(ctx context.Context) {
	ticks := time.NewTicker(h.options.Poll)
	defer ticks.Stop()
	tick := true
	for {
		h.note(ctx, h.follow(ctx, tick))
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
			tick = false
		case <-ticks.C:
			tick = true
		}
	}
}

// note logs the first of several failures, and their end.
func (h *Hub[T]) note(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil:
	case err != nil && !h.failing:
		h.failing = true
		h.options.Logger.WarnContext(ctx, "the live stream waits for the ledger", "of", h.options.Of, "error", err)
	case err == nil && h.failing:
		h.failing = false
		h.options.Logger.InfoContext(ctx, "the live stream goes on", "of", h.options.Of)
	}
}

// follow reads what is new. On a tick it also asks what became of the gaps, for which a wake-up has no time: most
// are filled by the next one.
func (h *Hub[T]) follow(ctx context.Context, tick bool) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	select {
	case <-h.ready:
	default:
		begun, err := h.begin(ctx)
		if err != nil || !begun {
			return err
		}
	}

	h.round++
	var writing []string
	settling := tick && len(h.cut.gaps) > 0
	if settling {
		var err error
		writing, err = h.ledger.Writers(ctx) // before the gaps are read again
		if err != nil {
			return err
		}
	}
	err := h.read(ctx)
	if err != nil {
		return err
	}
	if settling {
		h.settle(writing)
	}
	return nil
}

// begin finds where to begin: at the last seq, once nobody is writing a lower one any more. It gives false while
// somebody is. What is committed until then was before the Hub.
func (h *Hub[T]) begin(ctx context.Context) (bool, error) {
	if h.waiting == nil {
		last, err := h.ledger.Last(ctx)
		if err != nil {
			return false, err
		}
		h.cut = cut{high: last} // nobody else looks at it before the Hub is ready
		h.evicted = last
	}
	writing, err := h.ledger.Writers(ctx) // after the last seq was read
	if err != nil {
		return false, err
	}
	if h.waiting == nil {
		h.waiting = writing
	}
	h.waiting = common(h.waiting, writing)
	if len(h.waiting) > 0 {
		return false, nil
	}
	close(h.ready)
	return true, nil
}

// read reads what is beyond the cut, and then the gaps. In this order nothing of a workspace is read before what
// was committed before it: what an event beyond the cut follows was there when that was read, and so it is when
// the gap that it is in is read, which is later. Had the gaps been read first, it could come in between.
func (h *Hub[T]) read(ctx context.Context) error {
	for {
		entries, err := h.ledger.After(ctx, h.cut.high, page)
		if err != nil {
			return err
		}
		more := len(entries) == page
		for _, g := range h.cut.gaps {
			// What is there now is not more than the transactions that took it. A long gap is one of seqs that
			// were never given.
			filling, err := h.ledger.After(ctx, g.first-1, int(min(g.last-g.first+1, 4*page)))
			if err != nil {
				return err
			}
			for _, entry := range filling {
				if entry.Seq <= g.last {
					entries = append(entries, entry)
				}
			}
		}
		slices.SortFunc(entries, func(a, b Entry[T]) int { return cmp.Compare(a.Seq, b.Seq) })
		h.publish(entries)
		if !more {
			return nil
		}
	}
}

// publish keeps entries, which are new, and tells the readers.
func (h *Hub[T]) publish(entries []Entry[T]) {
	if len(entries) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, entry := range entries {
		h.cut.add(entry.Seq, h.round)
		h.kept = append(h.kept, &item[T]{h.cut.watermark(), entry})
	}
	// The copy is for the space: what is cut off at the front of a slice stays in memory.
	if surplus := len(h.kept) - h.options.Keep; surplus > 0 {
		for _, i := range h.kept[:surplus] {
			h.evicted = max(h.evicted, i.Seq)
		}
		h.first += int64(surplus)
		n := copy(h.kept, h.kept[surplus:])
		clear(h.kept[n:])
		h.kept = h.kept[:n]
	}
	h.tell()
}

func (h *Hub[T]) settle(writing []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.cut.watermark()
	h.cut.settle(h.round, writing)
	if h.cut.watermark() != before {
		h.tell()
	}
}

// tell wakes every reader that waits.
func (h *Hub[T]) tell() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// page reads for a reader that catches up.
func (h *Hub[T]) page(ctx context.Context, after int64) ([]Entry[T], error) {
	select {
	case h.reading <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-h.reading }()
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	entries, err := h.ledger.After(ctx, after, page)
	if err != nil {
		return nil, fmt.Errorf("reading what was missed: %w", err)
	}
	return entries, nil
}
