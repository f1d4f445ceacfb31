package server

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"time"

	"gatehouse/server/admission"
)

// readBody reads a JSON body of up to limit bytes within the request's deadline: a client that sends slowly
// must not hold a place longer than one that is decided slowly. The read deadline is lifted again, because
// net/http goes on reading to notice a client that hangs up, and would take its end for that.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" {
		return nil, &admission.Error{Code: admission.CodeUnsupportedMediaType, Detail: "the Content-Type is not application/json"}
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return nil, &admission.Error{Code: admission.CodeUnsupportedMediaType, Detail: "the body has a Content-Encoding"}
	}
	deadline, _ := r.Context().Deadline()
	controller := http.NewResponseController(w)
	err = controller.SetReadDeadline(deadline)
	if err != nil {
		return nil, fmt.Errorf("setting the read deadline: %w", err)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err == nil {
		err = controller.SetReadDeadline(time.Time{})
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
