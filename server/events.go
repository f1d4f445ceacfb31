package server

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
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"gatehouse/server/admission"
)

// EventSource is the ledger of events as it grows, the same on every replica.
type EventSource interface {
	// Subscribe makes a reader of what is after a position, or of what comes from now on if that is negative. next
	// waits for something to read. When its ctx ends it may be called again and goes on; after any other error the
	// reader is at its end. Errors of Subscribe that a caller can mend are *admission.Error.
	Subscribe(ctx context.Context, after int64) (next func(ctx context.Context) ([]admission.StreamedEvent, error), err error)
}

// EventOptions are of the live stream of events. Zero values but Source's stand for the defaults.
type EventOptions struct {
	Source       EventSource   // nil: there is no stream
	MaxStreams   int           // open at once; 256
	Heartbeat    time.Duration // between signs of life of a silent stream; 15 s
	WriteTimeout time.Duration // after which a reader that does not read is given up; 10 s
}

const (
	defaultMaxStreams   = 256
	defaultHeartbeat    = 15 * time.Second
	defaultWriteTimeout = 10 * time.Second

	// fromNow is the position of who names none.
	fromNow = -1

	// A reader comes back after reconnectAfter and up to as long again, lest all of them come at once when a
	// replica ends.
	reconnectAfter = time.Second
	// farewell is how long a stream may take to write its end when the server stops.
	farewell = time.Second
)

// streams are the open streams of a Server.
type streams struct {
	options EventOptions
	places  chan struct{}
	ended   context.Context // when the server drains
	end     context.CancelFunc
}

func newStreams(options EventOptions) *streams {
	options.Heartbeat = cmp.Or(options.Heartbeat, defaultHeartbeat)
	options.WriteTimeout = cmp.Or(options.WriteTimeout, defaultWriteTimeout)
	s := &streams{options: options, places: make(chan struct{}, cmp.Or(options.MaxStreams, defaultMaxStreams))}
	s.ended, s.end = context.WithCancel(context.Background())
	return s
}

// streamEvents serves GET /v1/events/stream: server-sent events. It lasts until the client goes, the server
// drains, or the client does not read; a client resumes with the last id that it has seen.
func (s *Server) streamEvents(w http.ResponseWriter, r *http.Request) error {
	if r.ContentLength != 0 {
		return admission.Malformed("this request takes no body") // whose deadline would end the stream
	}
	filter, err := newEventFilter(r)
	if err != nil {
		return err
	}
	after, err := lastEventID(r)
	if err != nil {
		return err
	}
	if s.streams.ended.Err() != nil {
		return &admission.Error{Code: admission.CodeNotReady, Detail: "shutting down"}
	}
	select {
	case s.streams.places <- struct{}{}:
		defer func() { <-s.streams.places }()
	default:
		return &admission.Error{Code: admission.CodeOverloaded, Detail: "too many streams are open"}
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.streams.ended, cancel)()
	next, err := s.streams.options.Source.Subscribe(ctx, after)
	if err != nil {
		return err
	}

	stream := &eventStream{server: s, request: r, filter: filter, next: next, told: after, writer: newEventWriter(w, s.streams.options.WriteTimeout)}
	defer context.AfterFunc(s.streams.ended, stream.writer.hurry)()
	defer stream.writer.close()
	start := time.Now()
	err = stream.run(ctx)
	s.options.Logger.LogAttrs(r.Context(), slog.LevelInfo, "stream ended", slog.String("caller", callerOf(r.Context()).Name),
		slog.Int("events", stream.sent), milliseconds("took_ms", time.Since(start)), slog.String("cause", s.causeOfEnd(r, err)))
	return nil
}

func (s *Server) causeOfEnd(r *http.Request, err error) string {
	switch {
	case s.streams.ended.Err() != nil:
		return "shutting down"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "the client does not read"
	case r.Context().Err() != nil:
		return "the client has gone"
	default:
		return err.Error()
	}
}

// lastEventID is where the client wants to resume. The header comes from clients that come back by themselves,
// and counts before the query of the first request, which they repeat.
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

// eventFilter says which events a client wants to see.
type eventFilter struct {
	workspace uuid.UUID // Nil for all
	codes     []string  // none for all
}

func newEventFilter(r *http.Request) (eventFilter, error) {
	query := r.URL.Query()
	filter := eventFilter{codes: query["code"]}
	if !query.Has("workspace_id") {
		return filter, nil
	}
	var err error
	filter.workspace, err = admission.ParseWorkspaceID(query.Get("workspace_id"))
	if err != nil {
		return eventFilter{}, admission.Malformed("workspace_id is not a UUID")
	}
	return filter, nil
}

func (f eventFilter) passes(event *admission.Event) bool {
	return (f.workspace == uuid.Nil || f.workspace == event.WorkspaceID) &&
		(len(f.codes) == 0 || slices.Contains(f.codes, event.Payload.Code))
}

// streamedEvent is the data of one event: the registry's message, and which one it is.
type streamedEvent struct {
	ID         uuid.UUID `json:"id"`
	Sequence   int64     `json:"sequence"`
	DecisionID uuid.UUID `json:"decision_id"`
	Hook       string    `json:"hook"`
	admission.Event
}

// eventStream is one open stream.
type eventStream struct {
	server  *Server
	request *http.Request
	filter  eventFilter
	next    func(ctx context.Context) ([]admission.StreamedEvent, error)
	writer  *eventWriter

	buffer   bytes.Buffer
	position int64 // reached
	told     int64 // to the client
	sent     int   // events
}

func (e *eventStream) run(ctx context.Context) error {
	heartbeat := e.server.streams.options.Heartbeat
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
		events, err := e.next(waiting)
		silent := waiting.Err() != nil
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			err = e.put(events)
		case silent:
			e.beat()
			err = nil
		}
		if err == nil && time.Since(checked) >= heartbeat {
			checked = time.Now()
			err = e.server.mayStillRead(e.request)
		}
		if err != nil {
			return err
		}
	}
}

// put writes events into the buffer. A client without a position is told the first there is, so that it
// resumes even if it has seen no event.
func (e *eventStream) put(events []admission.StreamedEvent) error {
	for _, streamed := range events {
		e.position = streamed.Position
		if streamed.Event == nil || !e.filter.passes(streamed.Event) {
			continue
		}
		event := streamed.Event
		data, err := json.Marshal(streamedEvent{event.ID, event.Sequence, event.DecisionID, event.Hook, *event})
		if err != nil {
			return fmt.Errorf("encoding an event: %w", err)
		}
		fmt.Fprintf(&e.buffer, "id: %d\nevent: %s\ndata: %s\n\n", e.position, event.Event, data)
		e.told = e.position
		e.sent++
	}
	if e.told == fromNow {
		e.tell()
	}
	return nil
}

// beat is a sign of life. It tells a client how far a stream has come of which it sees little or nothing.
func (e *eventStream) beat() {
	if e.position != e.told {
		e.tell()
		return
	}
	e.buffer.WriteString(": still here\n\n")
}

// tell is no event for a client, which keeps the id all the same.
func (e *eventStream) tell() {
	fmt.Fprintf(&e.buffer, "id: %d\n\n", e.position)
	e.told = e.position
}

var errTokenTakenBack = errors.New("the caller's token is no longer known")

// mayStillRead is asked from time to time: a stream outlives the request that was let in, and a token that was
// taken back must not read on.
func (s *Server) mayStillRead(r *http.Request) error {
	callers := s.options.Authenticator
	if callers.Open() || callers.knows(callerOf(r.Context())) {
		return nil
	}
	return errTokenTakenBack
}

func (a *Authenticator) knows(caller Token) bool {
	tokens := a.tokens.Load()
	return tokens != nil && slices.Contains(*tokens, caller)
}

// eventWriter gives every write a deadline of its own.
type eventWriter struct {
	response   http.ResponseWriter
	controller *http.ResponseController
	timeout    time.Duration

	mu      sync.Mutex
	hurried bool
	closed  bool
}

func newEventWriter(w http.ResponseWriter, timeout time.Duration) *eventWriter {
	// The wrapper that counts for metrics swallows the error of a flush.
	inner := w
	for {
		wrapper, wraps := inner.(interface{ Unwrap() http.ResponseWriter })
		if !wraps {
			break
		}
		inner = wrapper.Unwrap()
	}
	return &eventWriter{response: w, controller: http.NewResponseController(inner), timeout: timeout}
}

// header ends the connection with the stream, because the deadlines would outlast it, and tells proxies not to
// wait for more.
func (w *eventWriter) header() {
	header := w.response.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("Connection", "close")
	header.Set("X-Accel-Buffering", "no")
	w.response.WriteHeader(http.StatusOK)
}

func (w *eventWriter) write(buffer *bytes.Buffer) error {
	if buffer.Len() == 0 {
		return nil
	}
	err := w.extend()
	if err == nil {
		_, err = buffer.WriteTo(w.response)
	}
	if err == nil {
		err = w.controller.Flush()
	}
	if err != nil {
		return fmt.Errorf("writing to the client: %w", err)
	}
	return nil
}

func (w *eventWriter) extend() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hurried {
		return nil
	}
	return w.controller.SetWriteDeadline(time.Now().Add(w.timeout))
}

// hurry cuts a write short that a client holds up, from another goroutine.
func (w *eventWriter) hurry() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hurried = true
	if !w.closed {
		_ = w.controller.SetWriteDeadline(time.Now().Add(min(farewell, w.timeout))) // if it fails the connection is gone
	}
}

// close is called before the handler returns: after that the response is not to be touched.
func (w *eventWriter) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
}
