package admission

import (
	"context"
	"errors"
)

// Code is the stable name of an error on the wire. It says what a caller can do about it; the wrapped
// error, which only logs show, says what happened.
type Code string

// The closed set of error codes. Package respond maps each to one HTTP status.
const (
	CodeMalformedRequest     Code = "malformed_request"
	CodeUnauthenticated      Code = "unauthenticated"
	CodeForbidden            Code = "forbidden"
	CodeUnknownHook          Code = "unknown_hook"
	CodeNotFound             Code = "not_found"
	CodeMethodNotAllowed     Code = "method_not_allowed"
	CodeUIDConflict          Code = "uid_conflict"
	CodeNoCandidate          Code = "no_candidate"
	CodeCandidateChanged     Code = "candidate_changed"
	CodeReplayRunning        Code = "replay_running"
	CodeRequestTooLarge      Code = "request_too_large"
	CodeHeadersTooLarge      Code = "headers_too_large"
	CodeUnsupportedMediaType Code = "unsupported_media_type"
	CodeRateLimited          Code = "rate_limited"
	CodeAbandoned            Code = "abandoned"
	CodeFactsUnavailable     Code = "facts_unavailable"
	CodePolicyError          Code = "policy_error"
	CodeRecordFailed         Code = "record_failed"
	CodeLedgerUnavailable    Code = "ledger_unavailable"
	CodeInternal             Code = "internal_error"
	CodeNotReady             Code = "not_ready"
	CodeOverloaded           Code = "overloaded"
	CodeDeadlineExceeded     Code = "deadline_exceeded"
)

// IsFault says whether an error is this service's own fault. A mistake of the caller, or a caller that hung up, is none: it
// is counted and logged apart, and nobody is woken for it. A code that is not listed here counts as a fault.
func (c Code) IsFault() bool {
	switch c {
	case CodeMalformedRequest, CodeUnauthenticated, CodeForbidden, CodeUnknownHook, CodeNotFound, CodeMethodNotAllowed,
		CodeUIDConflict, CodeNoCandidate, CodeCandidateChanged, CodeReplayRunning, CodeRequestTooLarge, CodeHeadersTooLarge,
		CodeUnsupportedMediaType, CodeRateLimited, CodeAbandoned:
		return false
	default:
		return true
	}
}

// Abandoned is the error of a request whose caller hung up before there was an answer. Nobody hears it.
func Abandoned(err error) *Error {
	return &Error{Code: CodeAbandoned, Detail: "the caller hung up", Err: err}
}

// Error is an answer that is neither an allow nor a deny. Detail may be shown to the caller; Err may not:
// it can name hosts, columns and SQL.
type Error struct {
	Code   Code
	Detail string
	Err    error
}

func (e *Error) Error() string {
	text := string(e.Code)
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// Malformed is the error of a request that cannot be read; detail says where and why, without quoting it.
func Malformed(detail string) *Error {
	return &Error{Code: CodeMalformedRequest, Detail: detail}
}

// Fail makes err an *Error. An error with a code keeps it, such as a policy error met inside the ledger. If ctx has passed its
// deadline or its caller has hung up, the code says so. Any other error gets the given code and detail.
func Fail(ctx context.Context, code Code, detail string, err error) *Error {
	var coded *Error
	switch {
	case errors.As(err, &coded):
		return coded
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &Error{Code: CodeDeadlineExceeded, Detail: "the review took too long", Err: err}
	case errors.Is(ctx.Err(), context.Canceled):
		return Abandoned(err)
	default:
		return &Error{Code: code, Detail: detail, Err: err}
	}
}

// LedgerUnavailable is the error of a ledger that takes no decisions for now, whatever is in them. reason says why in
// plain words; callers see it. A decision that is refused for what is in it is CodeRecordFailed.
func LedgerUnavailable(reason string, err error) *Error {
	return &Error{Code: CodeLedgerUnavailable, Detail: reason, Err: err}
}

// AsError gives the typed error in err's chain. An error without a code becomes an internal error, so that a mistake in the
// program is answered with a stable code and never with an allow.
func AsError(err error) *Error {
	var coded *Error
	if errors.As(err, &coded) {
		return coded
	}
	return &Error{Code: CodeInternal, Err: err}
}
