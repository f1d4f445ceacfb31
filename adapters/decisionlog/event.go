package decisionlog

import (
	"io"
	"maps"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// Event is an event of OPA's decision logs, in OPA's words. It is not OPA's own type (EventV1 of v1/plugins/logs): that
// one decodes an input and encodes it again, which changes large numbers, and it brings OPA's server along. A test
// compares the two.
type Event struct {
	Labels      map[string]string `json:"labels"`
	DecisionID  uuid.UUID         `json:"decision_id"`
	TraceID     string            `json:"trace_id,omitempty"` // of the caller's traceparent
	SpanID      string            `json:"span_id,omitempty"`
	Bundles     map[string]Bundle `json:"bundles,omitempty"`
	Path        string            `json:"path"`
	Input       jsontext.Value    `json:"input,omitempty"` // as recorded; left out if all of it is erased
	Result      *Result           `json:"result,omitzero"` // left out where an error was answered
	Erased      []string          `json:"erased,omitempty"`
	Masked      []string          `json:"masked,omitempty"`
	Error       *Error            `json:"error,omitzero"`
	RequestedBy string            `json:"requested_by,omitempty"` // the name of the caller's token
	Timestamp   time.Time         `json:"timestamp"`
	Metrics     map[string]int64  `json:"metrics"`
	Custom      Custom            `json:"custom"`
}

// Bundle says which policies decided.
type Bundle struct {
	Revision string `json:"revision"`
}

// Result is the verdict. OPA puts there what the path evaluates to. Gatehouse puts there what it makes of all its rules.
type Result struct {
	Allowed      bool                  `json:"allowed"`
	Code         string                `json:"code,omitempty"` // of the violation that denied
	Violations   []admission.Violation `json:"violations"`
	MarkedFailed bool                  `json:"marked_failed"`
	Event        *admission.Event      `json:"event,omitzero"`
}

// Error is what was answered in place of a verdict, in the form of OPA's own errors.
type Error struct {
	Code    admission.Code `json:"code"`
	Message string         `json:"message"`
}

// Custom holds what OPA has no word for. OPA's req_id is a number that an OPA counts up, so the registry's uid is here.
type Custom struct {
	UID         string                `json:"uid,omitempty"`
	RequestID   string                `json:"request_id,omitempty"`
	Hook        string                `json:"hook"`
	WorkspaceID uuid.UUID             `json:"workspace_id"`
	Kind        string                `json:"kind"`
	CallerProof admission.CallerProof `json:"caller_proof"`
	DryRun      bool                  `json:"dry_run"`
}

// Names of what OPA leaves to its operators, and of its metrics.
const (
	policiesBundle = "policies"
	policyTimer    = "timer_rego_query_eval_ns"
	factsTimer     = "timer_gatehouse_facts_ns"
)

// NewEvent tells of a decision. Labels are those of the whole log and are not copied.
func NewEvent(d *admission.Decision, labels map[string]string) Event {
	e := Event{
		Labels: labels, DecisionID: d.ID, Path: "admission/" + d.Hook, Input: d.Input,
		Erased: d.Redaction.Erased, Masked: d.Redaction.Masked, RequestedBy: d.Caller, Timestamp: d.At.UTC(),
		Metrics: map[string]int64{factsTimer: d.Timings.Facts.Nanoseconds(), policyTimer: d.Timings.Policy.Nanoseconds()},
		Custom: Custom{
			UID: d.UID, RequestID: d.Trace.RequestID, Hook: d.Hook, WorkspaceID: d.WorkspaceID, Kind: d.Kind, CallerProof: d.CallerProof, DryRun: d.DryRun,
		},
	}
	e.TraceID, e.SpanID = d.Trace.IDs()
	if d.Verdict.Revision != "" {
		e.Bundles = map[string]Bundle{policiesBundle: {d.Verdict.Revision}}
	}
	if d.Failed != nil {
		e.Error = &Error{d.Failed.Code, d.Failed.Detail}
		return e
	}
	e.Result = &Result{d.Verdict.Allowed(), d.Code(), d.Verdict.Violations, d.MarkedFailed, d.Event}
	return e
}

// Labels returns the labels that every event has, overlaid with those that are set.
func Labels(version string, set map[string]string) map[string]string {
	labels := map[string]string{"app": "gatehouse", "version": version}
	maps.Copy(labels, set)
	return labels
}

// JSON is the event in one line.
func (e Event) JSON() ([]byte, error) {
	// Old records may hold an input that was not read strictly.
	return json.Marshal(e, json.Deterministic(true), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// EventWriter writes events as lines of JSON.
type EventWriter struct {
	out    io.Writer
	labels map[string]string
}

// NewEventWriter writes to out, which should be buffered.
func NewEventWriter(out io.Writer, labels map[string]string) *EventWriter {
	return &EventWriter{out, labels}
}

// Write writes one line.
func (w *EventWriter) Write(d *admission.Decision) error {
	line, err := NewEvent(d, w.labels).JSON()
	if err != nil {
		return err
	}
	_, err = w.out.Write(append(line, '\n'))
	return err
}

// Close does nothing: the format has no end mark.
func (w *EventWriter) Close() error { return nil }
