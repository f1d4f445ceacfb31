package postgres

import (
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/molecule-ai/gatehouse/adapters/postgres/history"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// decisionRows are decisions as the arrays that record.sql takes, one per column.
type decisionRows struct {
	ids, workspaces            [][16]byte
	times                      []time.Time
	uids                       []*string
	digests                    [][]byte
	hooks, callers, proofs     []string
	kinds, revisions           []string
	allowed                    []*bool
	marked, dry                []bool
	codes, reasons             []*string
	errorCodes, errorDetails   []*string
	violations, events, inputs [][]byte
	redactions                 [][]byte
	requestIDs, traceParents   []*string
	eventIDs                   []*[16]byte
	factsMicros, policyMicros  []int64
	claiming                   bool // an answer has a uid
}

func newDecisionRows(decisions []admission.Decision) (*decisionRows, error) {
	rows := new(decisionRows)
	for i := range decisions {
		err := rows.add(&decisions[i])
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}

func (r *decisionRows) add(d *admission.Decision) error {
	violations, err := history.EncodeViolations(d.Verdict.Violations)
	if err != nil {
		return err
	}
	event, err := encodeEvent(d.Event)
	if err != nil {
		return err
	}
	redaction, err := encodeRedaction(d.Redaction)
	if err != nil {
		return err
	}

	r.claiming = r.claiming || d.UID != "" && d.Failed == nil
	r.ids = append(r.ids, d.ID)
	r.times = append(r.times, d.At)
	r.uids = append(r.uids, history.OrNull(d.UID))
	r.digests = append(r.digests, d.Digest[:])
	r.hooks = append(r.hooks, d.Hook)
	r.callers = append(r.callers, d.Caller)
	r.proofs = append(r.proofs, string(d.CallerProof))
	r.workspaces = append(r.workspaces, d.WorkspaceID)
	r.kinds = append(r.kinds, d.Kind)
	outcome := outcomeOf(d)
	r.allowed = append(r.allowed, outcome.allowed)
	r.codes = append(r.codes, outcome.code)
	r.reasons = append(r.reasons, outcome.reason)
	r.errorCodes = append(r.errorCodes, outcome.errorCode)
	r.errorDetails = append(r.errorDetails, outcome.errorDetail)
	r.revisions = append(r.revisions, d.Verdict.Revision)
	r.marked = append(r.marked, d.MarkedFailed)
	r.violations = append(r.violations, violations)
	r.eventIDs = append(r.eventIDs, eventID(d.Event))
	r.events = append(r.events, event)
	r.inputs = append(r.inputs, d.Input)
	r.factsMicros = append(r.factsMicros, d.Timings.Facts.Microseconds())
	r.policyMicros = append(r.policyMicros, d.Timings.Policy.Microseconds())
	r.dry = append(r.dry, d.DryRun)
	r.redactions = append(r.redactions, redaction)
	r.requestIDs = append(r.requestIDs, history.OrNull(d.Trace.RequestID))
	r.traceParents = append(r.traceParents, history.OrNull(d.Trace.Parent))
	return nil
}

// arguments are in the order of record.sql's parameters.
func (r *decisionRows) arguments() []any {
	return slices.Insert(r.unclaimed(), digestPosition, any(r.digests))
}

// digestPosition is that of the one parameter that record_unclaimed.sql has not.
const digestPosition = 3

// unclaimed are in the order of record_unclaimed.sql's parameters.
func (r *decisionRows) unclaimed() []any {
	return []any{
		r.ids, r.times, r.uids, r.hooks, r.callers, r.proofs, r.workspaces,
		r.kinds, r.allowed, r.codes, r.reasons, r.revisions, r.marked, r.violations,
		r.eventIDs, r.events, r.inputs, r.factsMicros, r.policyMicros, r.dry,
		r.errorCodes, r.errorDetails, r.redactions, r.requestIDs, r.traceParents,
	}
}

// encodeEvent gives nil, which is NULL, for no event.
func encodeEvent(event *admission.Event) ([]byte, error) {
	if event == nil {
		return nil, nil
	}
	text, err := json.Marshal(event)
	if err != nil {
		return nil, fmt.Errorf("encoding the event: %w", err)
	}
	return text, nil
}

func eventID(event *admission.Event) *[16]byte {
	if event == nil {
		return nil
	}
	id := [16]byte(event.ID)
	return &id
}

// encodeRedaction gives nil, which is NULL, for an input that is whole.
func encodeRedaction(redaction admission.Redaction) ([]byte, error) {
	if redaction.Empty() {
		return nil, nil
	}
	text, err := json.Marshal(redaction)
	if err != nil {
		return nil, fmt.Errorf("encoding what the input lacks: %w", err)
	}
	return text, nil
}

// outcome is what came of a review, as columns.
type outcome struct {
	allowed                *bool   // nil for an error
	code, reason           *string // reason is nil for an error, both are for an allow
	errorCode, errorDetail *string
}

func outcomeOf(d *admission.Decision) outcome {
	if d.Failed != nil {
		code := (*string)(&d.Failed.Code)
		return outcome{code: code, errorCode: code, errorDetail: &d.Failed.Detail}
	}
	denying := d.Verdict.Denying()
	if denying == nil {
		return outcome{allowed: new(true)}
	}
	return outcome{allowed: new(false), code: &denying.Code, reason: &denying.Reason}
}
