// Package lograte writes warnings and errors of one kind once a second, with how many there were. While a database is
// away, every review is an error, and a line for each would tell nothing that the first does not.
//
// What is less than a warning passes as it is. The package decides nothing about what is worth a line.
package lograte

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// countKey is the attribute that says how many records a line stands for; a line without it stands for itself.
const countKey = "count"

// Handler writes the first record of a kind at once. Those that follow within the pause are counted, and at its end the
// last of them is written with their count. It is safe for concurrent use; its Close must be called, or what was counted
// last is lost.
type Handler struct {
	next  slog.Handler
	bound string // telling attributes of the logger
	kinds *kinds
}

// New makes a Handler in front of next.
func New(next slog.Handler, pause time.Duration) *Handler {
	return &Handler{next: next, kinds: &kinds{pause: pause, open: make(map[string]*window)}}
}

// Close writes what is held back. Records that come later are written at once.
func (h *Handler) Close() { h.kinds.close() }

// Enabled implements slog.Handler.
func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attributes []slog.Attr) slog.Handler {
	return &Handler{next: h.next.WithAttrs(attributes), bound: h.bound + kindOf(slices.Values(attributes)), kinds: h.kinds}
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{next: h.next.WithGroup(name), bound: h.bound, kinds: h.kinds}
}

// Handle implements slog.Handler.
func (h *Handler) Handle(ctx context.Context, record slog.Record) error {
	if record.Level < slog.LevelWarn {
		return h.next.Handle(ctx, record)
	}
	attributes := func(yield func(slog.Attr) bool) { record.Attrs(yield) }
	kind := record.Level.String() + "\x00" + record.Message + h.bound + kindOf(attributes)
	if h.kinds.hold(kind, h.next, record) {
		return nil
	}
	return h.next.Handle(ctx, record)
}

func kindOf(attributes func(yield func(slog.Attr) bool)) string {
	var kind strings.Builder
	for attribute := range attributes {
		switch attribute.Key { // ids, durations and the texts of errors make no kind
		case "code", "component", "hook", "name", "sink", "source":
			kind.WriteString("\x00" + attribute.Key + "=" + attribute.Value.String())
		}
	}
	return kind.String()
}

// kinds are those of which a record was written within the pause.
type kinds struct {
	pause time.Duration

	mu     sync.Mutex // held while what was held back is written, so that close returns after that
	open   map[string]*window
	closed bool
}

// window is the pause after a line of a kind.
type window struct {
	timer *time.Timer
	count int // of records that were held back
	next  slog.Handler
	last  slog.Record // of them
}

// hold counts a record if one of its kind was written a moment ago.
func (k *kinds) hold(kind string, next slog.Handler, record slog.Record) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return false
	}
	w, known := k.open[kind]
	if !known {
		k.open[kind] = &window{timer: time.AfterFunc(k.pause, func() { k.end(kind) })}
		return false
	}
	w.count++
	w.next, w.last = next, record.Clone()
	return true
}

// end writes what was held back, and begins the next pause if there was anything.
func (k *kinds) end(kind string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	w, open := k.open[kind]
	if !open {
		return
	}
	if w.count == 0 {
		delete(k.open, kind)
		return
	}
	w.write()
	w.timer.Reset(k.pause)
}

func (k *kinds) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	for _, w := range k.open {
		w.timer.Stop()
		if w.count > 0 {
			w.write()
		}
	}
	clear(k.open)
}

func (w *window) write() {
	if w.count > 1 {
		w.last.AddAttrs(slog.Int(countKey, w.count))
	}
	w.count = 0
	_ = w.next.Handle(context.Background(), w.last) // as slog does with the errors of handlers
}
