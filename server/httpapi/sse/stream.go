// Package sse serves ledgers as they grow, as server-sent events.
package sse

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi/auth"
	"github.com/molecule-ai/gatehouse/server/httpapi/respond"
	"github.com/molecule-ai/gatehouse/server/stream"
)

// Source is a ledger as it grows, the same on every replica.
type Source[T any] interface {
	// Subscribe makes a reader of what is after a position, or of what comes from now on if that is negative. The
	// reader lasts until ctx ends. next waits for something to read. When its ctx ends it may be called again and
	// goes on; after any other error the reader is at its end. Errors of Subscribe that a caller can mend are
	// *admission.Error.
	Subscribe(ctx context.Context, after int64) (next func(ctx context.Context) ([]stream.Streamed[T], error), err error)
}

// Options are of all streams. Zero values stand for the defaults.
type Options struct {
	MaxStreams   int           // open at once; 256
	Heartbeat    time.Duration // between signs of life of a silent stream; 15 s
	WriteTimeout time.Duration // after which a reader that does not read is given up; 10 s
}

const (
	defaultMaxStreams   = 256
	defaultHeartbeat    = 15 * time.Second
	defaultWriteTimeout = 10 * time.Second

	// fromNow is the position of a client that names none.
	fromNow = -1

	// A client reconnects after one to two times reconnectAfter. When a replica ends, its clients do not all come at
	// once.
	reconnectAfter = time.Second
)

// Streams are the open streams of a Server.
type Streams struct {
	options Options
	callers *auth.Authenticator
	logger  *slog.Logger
	places  chan struct{}
	ended   context.Context // when the server drains
	end     context.CancelFunc
}

// End ends all streams, and lets none begin.
func (s *Streams) End() { s.end() }

func New(options Options, callers *auth.Authenticator, logger *slog.Logger) *Streams {
	options.Heartbeat = cmp.Or(options.Heartbeat, defaultHeartbeat)
	options.WriteTimeout = cmp.Or(options.WriteTimeout, defaultWriteTimeout)
	s := &Streams{options: options, callers: callers, logger: logger, places: make(chan struct{}, cmp.Or(options.MaxStreams, defaultMaxStreams))}
	s.ended, s.end = context.WithCancel(context.Background())
	return s
}

// View is what one client gets of a ledger.
type View[T any] struct {
	Source Source[T]
	Passes func(item *T) bool                     // whether the client wants to see it
	Show   func(item *T) (event string, data any) // the event's type and what is told of it
}

// Serve serves server-sent events. It lasts until the client goes, the server drains, or the client does not
// read; a client resumes with the last id that it has seen.
func Serve[T any](s *Streams, w http.ResponseWriter, r *http.Request, of View[T]) error {
	if r.ContentLength != 0 {
		return admission.Malformed("this request takes no body") // whose deadline would end the stream
	}
	after, err := lastEventID(r)
	if err != nil {
		return err
	}
	if s.ended.Err() != nil {
		return &admission.Error{Code: admission.CodeNotReady, Detail: "shutting down"}
	}
	select {
	case s.places <- struct{}{}:
		defer func() { <-s.places }()
	default:
		return &admission.Error{Code: admission.CodeOverloaded, Detail: "too many streams are open"}
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.ended, cancel)()
	next, err := of.Source.Subscribe(ctx, after)
	if err != nil {
		return err
	}

	writer := newEventWriter(w, s.options.WriteTimeout)
	if r.Method == http.MethodHead {
		writer.header()
		return nil
	}
	stream := &openStream[T]{View: of, streams: s, request: r, next: next, told: after, writer: writer}
	defer context.AfterFunc(s.ended, stream.writer.hurry)()
	defer stream.writer.close()
	start := time.Now()
	err = stream.run(ctx)
	s.logger.LogAttrs(r.Context(), slog.LevelInfo, "stream ended", respond.AppendTrace([]slog.Attr{
		slog.String("caller", auth.CallerOf(r.Context()).Name), slog.Int("events", stream.sent),
		respond.Milliseconds("took_ms", time.Since(start)), slog.String("cause", s.causeOfEnd(r, err)),
	}, respond.Trace(r))...)
	return nil
}

func (s *Streams) causeOfEnd(r *http.Request, err error) string {
	switch {
	case s.ended.Err() != nil:
		return "shutting down"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "the client does not read"
	case r.Context().Err() != nil:
		return "the client has gone"
	default:
		return err.Error()
	}
}

// lastEventID is where the client wants to resume. A client that reconnects sends the header and repeats the query of its first
// request, so the header counts first.
func lastEventID(r *http.Request) (int64, error) {
	text := cmp.Or(r.Header.Get("Last-Event-ID"), r.URL.Query().Get("last_event_id"))
	if text == "" {
		return fromNow, nil
	}
	after, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, admission.Malformed("the last event id is not one that this stream has given")
	}
	return int64(after), nil
}

// openStream is one open stream.
type openStream[T any] struct {
	View[T]
	streams *Streams
	request *http.Request
	next    func(ctx context.Context) ([]stream.Streamed[T], error)
	writer  *eventWriter

	buffer   bytes.Buffer
	position int64 // reached
	told     int64 // to the client
	sent     int   // events
}

func (e *openStream[T]) run(ctx context.Context) error {
	heartbeat := e.streams.options.Heartbeat
	e.position = e.told
	checked := time.Now()
	e.writer.header()
	fmt.Fprintf(&e.buffer, "retry: %d\n\n", (reconnectAfter + rand.N(reconnectAfter)).Milliseconds())
	for {
		err := e.writer.write(&e.buffer)
		if err != nil {
			return err
		}
		waiting, cancel := context.WithTimeout(ctx, heartbeat)
		items, err := e.next(waiting)
		silent := waiting.Err() != nil
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			err = e.put(items)
		case silent:
			e.beat()
			err = nil
		}
		if err == nil && time.Since(checked) >= heartbeat {
			checked = time.Now()
			err = e.mayStillRead()
		}
		if err != nil {
			return err
		}
	}
}

// put writes items into the buffer as events. A client that named no position is told one at once, so that it can resume
// even before it has seen an event.
func (e *openStream[T]) put(items []stream.Streamed[T]) error {
	for _, streamed := range items {
		e.position = streamed.Position
		if streamed.Item == nil || !e.Passes(streamed.Item) {
			continue
		}
		event, told := e.Show(streamed.Item)
		data, err := json.Marshal(told)
		if err != nil {
			return fmt.Errorf("encoding an event: %w", err)
		}
		fmt.Fprintf(&e.buffer, "id: %d\nevent: %s\ndata: %s\n\n", e.position, event, data)
		e.told = e.position
		e.sent++
	}
	if e.told == fromNow {
		e.tell()
	}
	return nil
}

// beat is a sign of life. If the client's filter has passed items by, it tells the client how far the stream is.
func (e *openStream[T]) beat() {
	if e.position != e.told {
		e.tell()
		return
	}
	e.buffer.WriteString(": still here\n\n")
}

// tell sends an id without data. For a client that is no event, but it remembers the id.
func (e *openStream[T]) tell() {
	fmt.Fprintf(&e.buffer, "id: %d\n\n", e.position)
	e.told = e.position
}

var errTokenTakenBack = errors.New("the caller's token is no longer known")

// mayStillRead is checked from time to time: a stream may outlive its token, and a revoked token must not read on.
func (e *openStream[T]) mayStillRead() error {
	if e.streams.callers.StillKnows(e.request.Context()) {
		return nil
	}
	return errTokenTakenBack
}
