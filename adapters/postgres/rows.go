package postgres

import (
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"gatehouse/server/admission"
)

// decisionRows are decisions as the arrays that record.sql takes, one per column.
type decisionRows struct {
	ids, workspaces            [][16]byte
	times                      []time.Time
	uids                       []*string
	digests                    [][]byte
	hooks, callers, proofs     []string
	kinds, revisions           []string
	allowed, marked, dry       []bool
	codes, reasons             []*string
	violations, events, inputs [][]byte
	eventIDs                   []*[16]byte
	factsMicros, policyMicros  []int64
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
	violations, err := encodeViolations(d.Verdict.Violations)
	if err != nil {
		return err
	}
	event, err := encodeEvent(d.Event)
	if err != nil {
		return err
	}

	r.ids = append(r.ids, d.ID)
	r.times = append(r.times, d.At)
	r.uids = append(r.uids, orNull(d.UID))
	r.digests = append(r.digests, d.Digest[:])
	r.hooks = append(r.hooks, d.Hook)
	r.callers = append(r.callers, d.Caller)
	r.proofs = append(r.proofs, string(d.CallerProof))
	r.workspaces = append(r.workspaces, d.WorkspaceID)
	r.kinds = append(r.kinds, d.Kind)
	r.allowed = append(r.allowed, d.Verdict.Allowed())
	code, reason := causeOf(d.Verdict)
	r.codes = append(r.codes, code)
	r.reasons = append(r.reasons, reason)
	r.revisions = append(r.revisions, d.Verdict.Revision)
	r.marked = append(r.marked, d.MarkedFailed)
	r.violations = append(r.violations, violations)
	r.eventIDs = append(r.eventIDs, eventID(d.Event))
	r.events = append(r.events, event)
	r.inputs = append(r.inputs, d.Input)
	r.factsMicros = append(r.factsMicros, d.Timings.Facts.Microseconds())
	r.policyMicros = append(r.policyMicros, d.Timings.Policy.Microseconds())
	r.dry = append(r.dry, d.DryRun)
	return nil
}

// arguments are in the order of record.sql's parameters.
func (r *decisionRows) arguments() []any {
	return []any{
		r.ids, r.times, r.uids, r.digests, r.hooks, r.callers, r.proofs, r.workspaces,
		r.kinds, r.allowed, r.codes, r.reasons, r.revisions, r.marked, r.violations,
		r.eventIDs, r.events, r.inputs, r.factsMicros, r.policyMicros, r.dry,
	}
}

// recordedSQL reads what an answer is made of.
const recordedSQL = `
select
    d.id, d.decided_at, u.uid, u.digest, d.hook, d.caller, d.caller_proof, d.workspace_id, d.kind,
    d.policy_revision, d.marked_failed, d.violations, d.event_id, d.event, d.input, d.facts_us, d.policy_us
from gatehouse.request_uids u
join gatehouse.decisions d on d.id = u.decision_id
where u.uid = $1`

// readDecision reads a row of recordedSQL.
func readDecision(row pgx.CollectableRow) (admission.Decision, error) {
	var d admission.Decision
	var digest, violations, event, input []byte
	var eventID *[16]byte
	var factsMicros, policyMicros int64
	err := row.Scan(
		(*[16]byte)(&d.ID), &d.At, &d.UID, &digest, &d.Hook, &d.Caller, (*string)(&d.CallerProof),
		(*[16]byte)(&d.WorkspaceID), &d.Kind, &d.Verdict.Revision, &d.MarkedFailed, &violations, &eventID, &event,
		&input, &factsMicros, &policyMicros,
	)
	if err != nil {
		return admission.Decision{}, err
	}
	if copy(d.Digest[:], digest) != len(d.Digest) {
		return admission.Decision{}, fmt.Errorf("decision %s: its digest has %d bytes", d.ID, len(digest))
	}
	err = json.Unmarshal(violations, &d.Verdict.Violations)
	if err != nil {
		return admission.Decision{}, fmt.Errorf("decision %s: reading its violations: %w", d.ID, err)
	}
	if eventID != nil {
		d.Event = &admission.Event{ID: *eventID, DecisionID: d.ID, Hook: d.Hook}
		err = json.Unmarshal(event, d.Event)
		if err != nil {
			return admission.Decision{}, fmt.Errorf("decision %s: reading its event: %w", d.ID, err)
		}
	}
	d.At = d.At.UTC()
	d.Input = input
	d.Timings = admission.Timings{
		Facts:  time.Duration(factsMicros) * time.Microsecond,
		Policy: time.Duration(policyMicros) * time.Microsecond,
	}
	return d, nil
}

func encodeViolations(violations []admission.Violation) ([]byte, error) {
	text, err := json.Marshal(violations)
	if err != nil {
		return nil, fmt.Errorf("encoding the violations: %w", err)
	}
	return text, nil
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

// causeOf gives code and reason of the violation that denied, nil for an allow.
func causeOf(verdict admission.Verdict) (code, reason *string) {
	cause := verdict.Denying()
	if cause == nil {
		return nil, nil
	}
	return &cause.Code, &cause.Reason
}

func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// uuids makes ids of a column.
func uuids(rows pgx.Rows) ([]uuid.UUID, error) {
	ids, err := pgx.CollectRows(rows, pgx.RowTo[[16]byte])
	if err != nil {
		return nil, err
	}
	named := make([]uuid.UUID, len(ids))
	for i, id := range ids {
		named[i] = id
	}
	return named, nil
}
