package announce

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// quietHandler takes River's log lines. River recovers from what it calls an error, and while the database is away its parts
// repeat themselves several times a second. So its errors become warnings, the same warning comes at most once a minute, and
// its reports of normal work are for debugging. A sink's failure is logged by this package, once per attempt.
type quietHandler struct {
	next slog.Handler
	said *said
}

// said remembers when a message was last let through.
type said struct {
	mu   sync.Mutex
	last map[string]time.Time
}

const sayAgain = time.Minute

func newQuietHandler(next slog.Handler) slog.Handler {
	return quietHandler{
		next: next.WithAttrs([]slog.Attr{slog.String("component", "river")}),
		said: &said{last: make(map[string]time.Time)},
	}
}

func (h quietHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, quieter(level))
}

func (h quietHandler) Handle(ctx context.Context, record slog.Record) error {
	record.Level = quieter(record.Level)
	if record.Level >= slog.LevelWarn && !h.said.again(record.Message, record.Time) {
		return nil
	}
	return h.next.Handle(ctx, record)
}

func (h quietHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quietHandler{next: h.next.WithAttrs(attrs), said: h.said}
}

func (h quietHandler) WithGroup(name string) slog.Handler {
	return quietHandler{next: h.next.WithGroup(name), said: h.said}
}

func quieter(level slog.Level) slog.Level {
	if level >= slog.LevelWarn {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// again says whether a message is due. River's messages are constants, which bounds the map.
func (s *said) again(message string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, known := s.last[message]
	if known && now.Sub(last) < sayAgain {
		return false
	}
	s.last[message] = now
	return true
}
