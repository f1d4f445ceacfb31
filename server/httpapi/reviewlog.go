package httpapi

import (
	"context"
	"log/slog"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi/respond"
)

// ReviewLog writes one wide line for each review.
type ReviewLog struct {
	Logger *slog.Logger
}

// Reviewed implements admission.Observer. The line holds ids and codes, and no free text of a caller: neither the uid, by which
// decisions can be found, nor a hook that does not exist. Of the caller's own names, only the request id and the traceparent
// are logged, whose form is checked.
func (l ReviewLog) Reviewed(ctx context.Context, o admission.Outcome) {
	level := slog.LevelInfo
	if o.Err != nil {
		level = respond.LevelOf(o.Err)
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
		respond.Milliseconds("took_ms", o.Total),
	)
	attributes = respond.AppendTrace(attributes, o.Review.Trace)
	for _, stage := range []admission.Stage{admission.StageFacts, admission.StagePolicy, admission.StageLedger} {
		if took, entered := o.Stages[stage]; entered {
			attributes = append(attributes, respond.Milliseconds(string(stage)+"_ms", took))
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
