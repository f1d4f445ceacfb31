package history

import (
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/adapters/sqlite/connection"
	"github.com/molecule-ai/gatehouse/internal/decisionrow"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// DecisionColumns are what DecisionRow reads of decisions d.
const DecisionColumns = decisionrow.Columns + `, d.erased, d.masked`

// DecisionRow is a row as it is scanned. One does for all rows of a page.
type DecisionRow struct {
	decisionrow.Row

	at             string
	eventID        uuid.NullUUID
	erased, masked sql.RawBytes
}

// Cells are what to scan into, in the order of DecisionColumns.
func (r *DecisionRow) Cells() []any {
	return []any{
		&r.ID, &r.Seq, &r.at, &r.UID, &r.Hook, &r.Caller, &r.CallerProof, &r.WorkspaceID, &r.Kind,
		&r.Revision, &r.Marked, &r.DryRun, &r.ErrorCode, &r.ErrorDetail,
		(*sql.RawBytes)(&r.Violations), &r.eventID, (*sql.RawBytes)(&r.Event), &r.Input,
		&r.FactsMicros, &r.PolicyMicros, &r.RequestID, &r.TraceParent, &r.erased, &r.masked,
	}
}

// Decision is what was scanned.
func (r *DecisionRow) Decision() (ledger.Decision, error) {
	var err error
	r.At, err = time.Parse(connection.TimeLayout, r.at)
	r.EventID, r.Redaction = r.eventID.UUID, admission.Redaction{}
	if r.erased != nil {
		err = errors.Join(err, json.Unmarshal(r.erased, &r.Redaction.Erased))
	}
	if r.masked != nil {
		err = errors.Join(err, json.Unmarshal(r.masked, &r.Redaction.Masked))
	}
	if err != nil {
		return ledger.Decision{}, fmt.Errorf("decision %s: %w", r.ID, err)
	}
	return r.Row.Decision()
}

// OrNull gives nil, which is NULL, for no text.
func OrNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}
