// Package respond reads the bodies of requests and writes answers. A handler returns its error, and here the error becomes a
// response and a line in the log.
package respond

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync"

	"github.com/go-json-experiment/json"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// Handler is an HTTP handler that returns its error instead of writing it.
type Handler func(w http.ResponseWriter, r *http.Request) error

// ErrorWriter answers an error. Which one is used decides how errors look.
type ErrorWriter func(w http.ResponseWriter, r *http.Request, err error)

// Limits bound what a request may hold.
type Limits struct {
	Body  int64 // bytes of a body
	Batch int64 // bytes of a body that holds many of something
	Depth int   // levels of nesting in a body
}

// Responder is what handlers answer with. It is safe for concurrent use.
type Responder struct {
	Limits  Limits
	logger  *slog.Logger
	buffers sync.Pool // of *bytes.Buffer, for bodies and answers
}

// New makes a Responder.
func New(limits Limits, logger *slog.Logger) *Responder {
	r := &Responder{Limits: limits, logger: logger}
	r.buffers.New = func() any { return new(bytes.Buffer) }
	return r
}

// Handler serves h and answers its error as a problem.
func (r *Responder) Handler(h Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, request *http.Request) {
		err := h(w, request)
		if err != nil {
			r.Problem(w, request, err)
		}
	}
}

// Answer serves what ask gives as JSON, or its error as a problem. It is for requests without a body.
func Answer[T any](r *Responder, ask func(request *http.Request) (T, error)) http.HandlerFunc {
	return r.Handler(func(w http.ResponseWriter, request *http.Request) error {
		answer, err := ask(request)
		if err != nil {
			return err
		}
		r.JSON(w, request, http.StatusOK, answer)
		return nil
	})
}

// Problem answers an error as a problem, and logs it.
func (r *Responder) Problem(w http.ResponseWriter, request *http.Request, err error) {
	coded := r.Refused(request, err)
	body := NewProblem(coded)
	SetErrorHeaders(w.Header(), coded.Code)
	w.Header().Set("Content-Type", "application/problem+json")
	r.JSON(w, request, body.Status, body)
}

// JSON sends body as JSON. The content type is application/json unless it is set.
func (r *Responder) JSON(w http.ResponseWriter, request *http.Request, status int, body any) {
	_ = r.withBuffer(func(buffer *bytes.Buffer) error {
		header := w.Header()
		err := json.MarshalWrite(buffer, body)
		if err != nil {
			r.logger.ErrorContext(request.Context(), "encoding an answer", "error", err)
			status = http.StatusInternalServerError
			buffer.Reset()
			fmt.Fprintf(buffer, `{"type":"about:blank","title":"Internal Server Error","status":500,"code":%q}`, admission.CodeInternal)
			header.Set("Content-Type", "application/problem+json")
		}
		buffer.WriteByte('\n')
		if header.Get("Content-Type") == "" {
			header.Set("Content-Type", jsonType)
		}
		header.Set("Content-Length", strconv.Itoa(buffer.Len()))
		header.Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_, err = w.Write(buffer.Bytes())
		return err // dropped: the client may have gone, and the decision is recorded
	})
}
