package respond

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi/auth"
)

// OtherMethod stands for every method that no route has.
const OtherMethod = "other"

// MethodLabel bounds what a client can invent.
func MethodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete:
		return method
	default:
		return OtherMethod
	}
}

// Panicked is the error of a panic, and logs where it came from.
func (r *Responder) Panicked(ctx context.Context, trace admission.Trace, cause any) error {
	attributes := []slog.Attr{slog.String("cause", fmt.Sprint(cause)), slog.String("stack", string(debug.Stack()))}
	r.logger.LogAttrs(ctx, slog.LevelError, "panic", AppendTrace(attributes, trace)...)
	return &admission.Error{Code: admission.CodeInternal}
}

type loggedError struct{ error }

func (e loggedError) Unwrap() error { return e.error }

// Logged marks an error that has had its line in the log already, so that it gets no second one.
func Logged(err error) error { return loggedError{err} }

// Refused gives the error that is answered, and logs it for a request that did not come as far as the gate. What a
// caller sent is not repeated, so the detail of a malformed request, which can name its members, is left out.
func (r *Responder) Refused(request *http.Request, cause error) *admission.Error {
	err := admission.AsError(cause)
	var logged loggedError
	if errors.As(cause, &logged) {
		return err
	}
	if err.Code.IsFault() && errors.Is(err, context.Canceled) && request.Context().Err() != nil {
		err = admission.Abandoned(err)
	}
	attributes := []slog.Attr{
		slog.String("code", string(err.Code)),
		slog.String("method", MethodLabel(request.Method)),
		slog.String("route", chi.RouteContext(request.Context()).RoutePattern()),
		slog.String("caller", auth.CallerOf(request.Context()).Name),
	}
	attributes = AppendTrace(attributes, Trace(request))
	if err.Err != nil {
		attributes = append(attributes, slog.String("error", err.Err.Error()))
	}
	r.logger.LogAttrs(request.Context(), LevelOf(err), "refused", attributes...)
	return err
}

// LevelOf keeps warnings for what is this service's own fault.
func LevelOf(err *admission.Error) slog.Level {
	if err.Code.IsFault() {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// Milliseconds is a duration as log lines have it.
func Milliseconds(key string, d time.Duration) slog.Attr {
	return slog.Float64(key, float64(d.Microseconds())/1000)
}
