package stream

import (
	"context"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// Subscribe makes a reader of what is after a position that was streamed before, by any Hub on the ledger, or of
// what comes, if after is FromNow. A position that the ledger does not have is malformed. The reader holds
// nothing that would have to be closed.
//
// next waits for something to read and gives some of it, in order; it is for one goroutine. A reader from now is
// told at first where it is, so that it can resume before it has seen an item. When ctx ends, next may be called
// again and goes on; after any other error, the reader is at its end.
func (h *Hub[T]) Subscribe(
	ctx context.Context, after int64,
) (next func(ctx context.Context) ([]Streamed[T], error), err error) {
	err = h.waitReady(ctx)
	if err != nil {
		return nil, err
	}
	if after < 0 {
		return h.fromNow().next, nil
	}
	r, err := h.resume(ctx, after)
	if err != nil {
		return nil, err
	}
	return r.next, nil
}

func (h *Hub[T]) fromNow() *reader[T] {
	h.mu.Lock()
	defer h.mu.Unlock()
	return &reader[T]{hub: h, position: FromNow, number: h.first + int64(len(h.kept)), live: true}
}

func (h *Hub[T]) resume(ctx context.Context, after int64) (*reader[T], error) {
	h.mu.Lock()
	high := h.cut.high
	h.mu.Unlock()
	if after > high {
		// Another Hub may be ahead of this one, but not of the ledger.
		entries, err := h.page(ctx, after-1)
		if err != nil {
			return nil, err
		}
		if len(entries) == 0 {
			return nil, admission.Malformed("the ledger of " + h.options.Of + " does not reach to this position; was the database replaced?")
		}
	}
	r := &reader[T]{hub: h, position: after, done: cut{high: after}}
	r.aim()
	return r, nil
}

func (h *Hub[T]) waitReady(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	select {
	case <-h.ready:
	case <-h.stopped.Done():
	case <-limited.Done():
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &admission.Error{Code: admission.CodeNotReady, Detail: "the ledger of " + h.options.Of + " cannot be followed yet"}
	}
	if h.stopped.Err() != nil {
		return &admission.Error{Code: admission.CodeNotReady, Detail: "shutting down", Err: ErrClosed}
	}
	return nil
}

// reader first reads from the ledger what the Hub had read when it came (target), then goes on with what the Hub
// has read since (number). Since target and number are of the same moment, nothing is between them.
type reader[T any] struct {
	hub      *Hub[T]
	after    int64 // everything up to it was got before, so that the Hub's items must be beyond
	position int64 // that was told

	done   cut   // what was got when the reader took its aim
	target cut   // what is to be got from the ledger
	read   int64 // seq up to which it was
	number int64 // of the Hub's item to go on with
	live   bool
}

// aim sets what is to be read from the ledger, which is nothing if the Hub still has it all.
func (r *reader[T]) aim() {
	h := r.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(r.done.gaps) == 0 && r.done.high >= h.evicted {
		r.after, r.number, r.live = max(r.after, r.done.high), h.first, true
		return
	}
	r.after = max(r.after, r.done.watermark())
	r.target, r.read = h.cut.clone(), r.after
	r.number = h.first + int64(len(h.kept))
}

func (r *reader[T]) next(ctx context.Context) ([]Streamed[T], error) {
	for {
		if r.hub.stopped.Err() != nil {
			return nil, ErrClosed
		}
		var entries []Streamed[T]
		var changed <-chan struct{}
		var err error
		if r.live {
			entries, changed, err = r.take()
		} else {
			entries, err = r.catchUp(ctx)
		}
		if err != nil || len(entries) > 0 {
			return entries, err
		}
		if changed == nil {
			continue
		}
		select {
		case <-changed:
		case <-r.hub.stopped.Done():
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// catchUp reads a page of what the reader lacks of its target.
func (r *reader[T]) catchUp(ctx context.Context) ([]Streamed[T], error) {
	entries, err := r.hub.page(ctx, r.read)
	if err != nil {
		return nil, err
	}
	var lacking []Streamed[T]
	for _, entry := range entries {
		if entry.Seq > r.target.high {
			break
		}
		// What is in a gap of the target, or was committed since, comes from the Hub.
		if r.target.has(entry.Seq) && !r.done.has(entry.Seq) {
			r.advance(min(entry.Seq, r.target.watermark()))
			lacking = append(lacking, Streamed[T]{Position: r.position, Item: &entry.Item})
		}
	}
	if len(entries) == page && entries[page-1].Seq < r.target.high {
		r.read = entries[page-1].Seq
		return lacking, nil
	}
	r.done = r.target
	r.goLive()
	return lacking, nil
}

// goLive goes on with the Hub's items, or takes aim again if the next one is gone already.
func (r *reader[T]) goLive() {
	r.hub.mu.Lock()
	gone := r.number < r.hub.first
	r.hub.mu.Unlock()
	if gone {
		r.aim()
		return
	}
	r.live = true
}

// take takes what the Hub has beyond the reader, or says what to wait for.
func (r *reader[T]) take() ([]Streamed[T], <-chan struct{}, error) {
	h := r.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.number < h.first {
		return nil, nil, ErrTooSlow
	}
	var entries []Streamed[T]
	for _, i := range h.kept[r.number-h.first:] {
		if len(entries) == page {
			break
		}
		r.number++
		if i.Seq <= r.after {
			continue
		}
		r.advance(i.position)
		entries = append(entries, Streamed[T]{Position: r.position, Item: &i.Item})
	}
	atEnd := r.number == h.first+int64(len(h.kept))
	if atEnd && r.advance(h.cut.watermark()) {
		entries = append(entries, Streamed[T]{Position: r.position})
	}
	return entries, h.changed, nil
}

// advance never goes back: the reader may have been told a position by a Hub that is ahead of this one.
func (r *reader[T]) advance(position int64) bool {
	ahead := position > r.position
	r.position = max(r.position, position)
	return ahead
}
