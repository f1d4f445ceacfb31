package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"time"

	"gatehouse/server/admission"
)

// bodyDeadline gives every body the request's timeout to arrive: a client that sends slowly must not hold a
// place longer than one that is decided slowly. It holds for refused requests too, because net/http reads what
// is left of their bodies before it sends the answer.
func (s *Server) bodyDeadline(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.options.RequestTimeout))
			if err != nil {
				s.writeProblem(w, r, fmt.Errorf("setting the read deadline: %w", err))
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// mostAnnounced is how much space a body gets because it says that it is long.
const mostAnnounced = 64 << 10

// readAll reads a body of an announced length, negative if it is not known, into a space that fits it.
func readAll(body io.Reader, announced int64) ([]byte, error) {
	var buffer bytes.Buffer
	buffer.Grow(int(max(0, min(announced, mostAnnounced))) + bytes.MinRead)
	_, err := buffer.ReadFrom(body)
	return buffer.Bytes(), err
}

// readBody reads a JSON body of up to limit bytes. It lifts the read deadline, because net/http goes on reading
// to notice a client that hangs up, and would take the deadline for that.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" {
		return nil, &admission.Error{Code: admission.CodeUnsupportedMediaType, Detail: "the Content-Type is not application/json"}
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return nil, &admission.Error{Code: admission.CodeUnsupportedMediaType, Detail: "the body has a Content-Encoding"}
	}
	body, err := readAll(http.MaxBytesReader(w, r.Body, limit), r.ContentLength)
	if err == nil {
		err = http.NewResponseController(w).SetReadDeadline(time.Time{})
	}
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return body, nil
	case errors.As(err, &tooLarge):
		return nil, &admission.Error{Code: admission.CodeRequestTooLarge, Detail: fmt.Sprintf("the body is larger than %d bytes", limit)}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &admission.Error{Code: admission.CodeDeadlineExceeded, Detail: "the body did not arrive in time", Err: err}
	default:
		return nil, &admission.Error{Code: admission.CodeMalformedRequest, Detail: "the body could not be read", Err: err}
	}
}
