package sse

import (
	"bytes"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// farewell is how long a stream may take to write its end when the server stops.
const farewell = time.Second

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
	// The wrapper that counts for metrics hides the error of a flush.
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

// header closes the connection with the stream, because its write deadline would hold for the next request. It tells proxies
// not to buffer.
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

// hurry shortens the deadline of a write that a client delays. It is called from another goroutine.
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
