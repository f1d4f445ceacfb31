package respond

import (
	"cmp"
	"net/http"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// statusAbandoned is nginx's status of a client that hung up. HTTP has none, and proxies and dashboards know this one.
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

// Problem is an error on the wire: application/problem+json of RFC 9457 with a stable code.
type Problem struct {
	Type   string         `json:"type"`
	Title  string         `json:"title"`
	Status int            `json:"status"`
	Detail string         `json:"detail,omitempty"`
	Code   admission.Code `json:"code"`
}

// StatusOf is the HTTP status of an error code. For an unknown code known is false and the status that of an internal error.
func StatusOf(code admission.Code) (status int, known bool) {
	status, known = statuses[code]
	if !known {
		return http.StatusInternalServerError, false
	}
	return status, true
}

// NewProblem shows what a caller may see of err.
func NewProblem(err *admission.Error) Problem {
	status, _ := StatusOf(err.Code)
	return Problem{
		Type: "about:blank", Title: cmp.Or(http.StatusText(status), titleAbandoned), Status: status, Detail: err.Detail, Code: err.Code,
	}
}

// SetErrorHeaders tells a client when to try again, or how to authenticate.
func SetErrorHeaders(header http.Header, code admission.Code) {
	switch code {
	case admission.CodeUnauthenticated:
		header.Set("WWW-Authenticate", `Bearer realm="gatehouse"`)
	case admission.CodeNotReady, admission.CodeLedgerUnavailable, admission.CodeOverloaded, admission.CodeRateLimited:
		header.Set("Retry-After", "1")
	}
}
