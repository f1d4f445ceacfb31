package postgres

import (
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/molecule-ai/gatehouse/adapters/postgres/history"
	"github.com/molecule-ai/gatehouse/internal/decisionrow"
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
	row, err := decisionrow.Of(d)
	if err != nil {
		return err
	}
	redaction, err := encodeRedaction(d.Redaction)
	if err != nil {
		return err
	}
	r.claiming = r.claiming || row.Claims()
	r.ids = append(r.ids, row.ID)
	r.times = append(r.times, row.At)
	r.uids = append(r.uids, history.OrNull(row.UID))
	r.digests = append(r.digests, d.Digest[:])
	r.hooks = append(r.hooks, row.Hook)
	r.callers = append(r.callers, row.Caller)
	r.proofs = append(r.proofs, row.CallerProof)
	r.workspaces = append(r.workspaces, row.WorkspaceID)
	r.kinds = append(r.kinds, row.Kind)
	r.allowed = append(r.allowed, allowed(&row))
	r.codes = append(r.codes, row.Code)
	r.reasons = append(r.reasons, row.Reason)
	r.errorCodes = append(r.errorCodes, row.ErrorCode)
	r.errorDetails = append(r.errorDetails, row.ErrorDetail)
	r.revisions = append(r.revisions, row.Revision)
	r.marked = append(r.marked, row.Marked)
	r.violations = append(r.violations, orEmptyList(row.Violations))
	r.eventIDs = append(r.eventIDs, eventID(d.Event))
	r.events = append(r.events, row.Event)
	r.inputs = append(r.inputs, row.Input)
	r.factsMicros = append(r.factsMicros, row.FactsMicros)
	r.policyMicros = append(r.policyMicros, row.PolicyMicros)
	r.dry = append(r.dry, row.DryRun)
	r.redactions = append(r.redactions, redaction)
	r.requestIDs = append(r.requestIDs, history.OrNull(row.RequestID))
	r.traceParents = append(r.traceParents, history.OrNull(row.TraceParent))
	return nil
}

// arguments are in the order of record.sql's parameters.
func (r *decisionRows) arguments() []any {
	return slices.Insert(r.unclaimed(), digestPosition, any(r.digests))
}

// digestPosition is the place of the one parameter that record_unclaimed.sql does not have.
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

// allowed is nil, which is NULL, for an error.
func allowed(row *decisionrow.Row) *bool {
	if row.ErrorCode != nil {
		return nil
	}
	return &row.Allowed
}

func orEmptyList(violations []byte) []byte {
	if violations == nil {
		return []byte("[]")
	}
	return violations
}
