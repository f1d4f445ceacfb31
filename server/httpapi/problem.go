package httpapi

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// statusAbandoned is nginx's, which proxies and dashboards know. HTTP has none, because nobody hears it.
const (
	statusAbandoned = 499
	titleAbandoned  = "Client Closed Request"
)

// statuses gives every error code its HTTP status.
var statuses = map[admission.Code]int{
	admission.CodeMalformedRequest:     http.StatusBadRequest,
	admission.CodeUnauthenticated:      http.StatusUnauthorized,
	admission.CodeForbidden:            http.StatusForbidden,
	admission.CodeUnknownHook:          http.StatusNotFound,
	admission.CodeNotFound:             http.StatusNotFound,
	admission.CodeMethodNotAllowed:     http.StatusMethodNotAllowed,
	admission.CodeUIDConflict:          http.StatusConflict,
	admission.CodeNoCandidate:          http.StatusConflict,
	admission.CodeCandidateChanged:     http.StatusConflict,
	admission.CodeReplayRunning:        http.StatusConflict,
	admission.CodeRequestTooLarge:      http.StatusRequestEntityTooLarge,
	admission.CodeHeadersTooLarge:      http.StatusRequestHeaderFieldsTooLarge,
	admission.CodeUnsupportedMediaType: http.StatusUnsupportedMediaType,
	admission.CodeRateLimited:          http.StatusTooManyRequests,
	admission.CodeAbandoned:            statusAbandoned,
	admission.CodeFactsUnavailable:     http.StatusInternalServerError,
	admission.CodePolicyError:          http.StatusInternalServerError,
	admission.CodeRecordFailed:         http.StatusInternalServerError,
	admission.CodeInternal:             http.StatusInternalServerError,
	admission.CodeLedgerUnavailable:    http.StatusServiceUnavailable,
	admission.CodeNotReady:             http.StatusServiceUnavailable,
	admission.CodeOverloaded:           http.StatusServiceUnavailable,
	admission.CodeDeadlineExceeded:     http.StatusGatewayTimeout,
}

// problem is an error on the wire: application/problem+json of RFC 9457 with a stable code.
type problem struct {
	Type   string         `json:"type"`
	Title  string         `json:"title"`
	Status int            `json:"status"`
	Detail string         `json:"detail,omitempty"`
	Code   admission.Code `json:"code"`
}

func newProblem(err *admission.Error) problem {
	status, known := statuses[err.Code]
	if !known {
		status = http.StatusInternalServerError
	}
	return problem{
		Type: "about:blank", Title: cmp.Or(http.StatusText(status), titleAbandoned), Status: status, Detail: err.Detail, Code: err.Code,
	}
}

// handler is an HTTP handler that returns its error instead of writing it.
type handler func(w http.ResponseWriter, r *http.Request) error

// problems serves h and answers its error as a problem.
func (s *Server) problems(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		if err != nil {
			s.writeProblem(w, r, err)
		}
	}
}

func (s *Server) writeProblem(w http.ResponseWriter, r *http.Request, err error) {
	coded := s.refused(r, err)
	body := newProblem(coded)
	setErrorHeaders(w.Header(), coded.Code)
	w.Header().Set("Content-Type", "application/problem+json")
	s.write(w, r, body.Status, body)
}

// setErrorHeaders tells a client what to do about an error that it can do something about.
func setErrorHeaders(header http.Header, code admission.Code) {
	switch code {
	case admission.CodeUnauthenticated:
		header.Set("WWW-Authenticate", `Bearer realm="gatehouse"`)
	case admission.CodeNotReady, admission.CodeLedgerUnavailable, admission.CodeOverloaded, admission.CodeRateLimited:
		header.Set("Retry-After", "1")
	}
}

// write sends body as JSON. The content type is application/json unless it is set.
func (s *Server) write(w http.ResponseWriter, r *http.Request, status int, body any) {
	_ = s.withBuffer(func(buffer *bytes.Buffer) error {
		header := w.Header()
		err := json.MarshalWrite(buffer, body)
		if err != nil {
			s.options.Logger.ErrorContext(r.Context(), "encoding an answer", "error", err)
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
		return err // nobody's: the client may have gone; what was decided is recorded
	})
}
