package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/molecule-ai/gatehouse/server/admission"
)

const (
	noRoute     = "none"
	otherMethod = "other"
)

// observed tells the observer of every request by its route's pattern, which bounds the label.
func (s *Server) observed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start, ctx := time.Now(), r.Context()
		wrapped := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
		defer func() {
			route := chi.RouteContext(ctx).RoutePattern()
			if route == "" {
				route = noRoute
			}
			s.options.Observer.Served(route, methodLabel(r.Method), wrapped.Status(), time.Since(start))
		}()
		next.ServeHTTP(wrapped, r)
	})
}

// methodLabel bounds what a client can invent.
func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete:
		return method
	default:
		return otherMethod
	}
}

// recovered answers a panic as an internal error: it costs one request and is never an allow.
func (s *Server) recovered(wire func(http.ResponseWriter, *http.Request, error)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() {
				cause := recover()
				if cause == nil {
					return
				}
				if err, isError := cause.(error); isError && errors.Is(err, http.ErrAbortHandler) {
					panic(cause)
				}
				wire(w, r, s.panicked(r.Context(), traceOf(r), cause))
			}()
			next.ServeHTTP(w, r)
		})
	}
}

func (s *Server) panicked(ctx context.Context, trace admission.Trace, cause any) error {
	attributes := []slog.Attr{slog.String("cause", fmt.Sprint(cause)), slog.String("stack", string(debug.Stack()))}
	s.options.Logger.LogAttrs(ctx, slog.LevelError, "panic", appendTrace(attributes, trace)...)
	return &admission.Error{Code: admission.CodeInternal}
}

// loggedError is an error that has had its line in the log: one of the gate from ReviewLog, or of readiness.
type loggedError struct{ error }

func (e loggedError) Unwrap() error { return e.error }

// refused gives the error that is answered, and logs it for a request that did not come as far as the gate. What a
// caller sent is not repeated, so the detail of a malformed request, which can name its members, is left out.
func (s *Server) refused(r *http.Request, cause error) *admission.Error {
	err := admission.AsError(cause)
	var logged loggedError
	if errors.As(cause, &logged) {
		return err
	}
	if err.Code.IsFault() && errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		err = admission.Abandoned(err)
	}
	attributes := []slog.Attr{
		slog.String("code", string(err.Code)),
		slog.String("method", methodLabel(r.Method)),
		slog.String("route", chi.RouteContext(r.Context()).RoutePattern()),
		slog.String("caller", callerOf(r.Context()).Name),
	}
	attributes = appendTrace(attributes, traceOf(r))
	if err.Err != nil {
		attributes = append(attributes, slog.String("error", err.Err.Error()))
	}
	s.options.Logger.LogAttrs(r.Context(), levelOf(err), "refused", attributes...)
	return err
}

// levelOf keeps warnings for what is this service's own fault.
func levelOf(err *admission.Error) slog.Level {
	if err.Code.IsFault() {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// ReviewLog writes one wide line for each review.
type ReviewLog struct {
	Logger *slog.Logger
}

// Reviewed implements admission.Observer. The line holds ids and codes, and nothing that a caller can fill in as
// it likes: not the uid, for which decisions can be looked up, and no hook that does not exist. A request id is there to be
// logged, and is no free text.
func (l ReviewLog) Reviewed(ctx context.Context, o admission.Outcome) {
	level := slog.LevelInfo
	if o.Err != nil {
		level = levelOf(o.Err)
	}
	if !l.Logger.Enabled(ctx, level) {
		return
	}
	attributes := make([]slog.Attr, 0, 26)
	attributes = append(attributes,
		slog.String("hook", loggedHook(o)),
		slog.String("workspace_id", o.Review.WorkspaceID.String()),
		slog.String("caller", o.Review.Caller),
		slog.String("caller_proof", string(o.Review.CallerProof)),
		slog.Bool("dry_run", o.Review.DryRun || o.Decision.DryRun),
		milliseconds("took_ms", o.Total),
	)
	attributes = appendTrace(attributes, o.Review.Trace)
	for _, stage := range []admission.Stage{admission.StageFacts, admission.StagePolicy, admission.StageLedger} {
		if took, entered := o.Stages[stage]; entered {
			attributes = append(attributes, milliseconds(string(stage)+"_ms", took))
		}
	}
	if o.Err != nil {
		attributes = append(attributes, slog.String("decision", string(o.Ending())), slog.String("code", string(o.Err.Code)))
		if o.Err.Err != nil {
			attributes = append(attributes, slog.String("error", o.Err.Err.Error()))
		}
	} else {
		attributes = append(attributes, decided(o)...)
	}
	l.Logger.LogAttrs(ctx, level, "review", attributes...)
}

func loggedHook(o admission.Outcome) string {
	if o.Err != nil && (o.Err.Code == admission.CodeUnknownHook || o.Err.Code == admission.CodeNotReady) {
		return ""
	}
	return o.Review.Hook
}

func milliseconds(key string, d time.Duration) slog.Attr {
	return slog.Float64(key, float64(d.Microseconds())/1000)
}

func decided(o admission.Outcome) []slog.Attr {
	d := o.Decision
	attributes := []slog.Attr{
		slog.String("decision", string(o.Ending())),
		slog.String("decision_id", d.ID.String()),
		slog.String("kind", d.Kind),
		slog.Int("violations", len(d.Verdict.Violations)),
		slog.Bool("marked_failed", d.MarkedFailed),
		slog.Bool("repeated", o.Repeated),
		slog.String("policy_revision", d.Verdict.Revision),
	}
	if denying := d.Verdict.Denying(); denying != nil {
		attributes = append(attributes,
			slog.String("code", denying.Code), slog.String("reason", denying.Reason), slog.String("rule", denying.Rule))
	}
	if d.Event != nil {
		attributes = append(attributes, slog.String("event_id", d.Event.ID.String()))
	}
	return attributes
}
