package decisionlog

import (
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// Row is a decision as one flat row, the same in Parquet and, by the same names, in CSV.
type Row struct {
	ID             string    `parquet:"id"`
	DecidedAt      time.Time `parquet:"decided_at,timestamp(microsecond)"`
	UID            string    `parquet:"uid"`
	Hook           string    `parquet:"hook,dict"`
	Caller         string    `parquet:"caller,dict"`
	CallerProof    string    `parquet:"caller_proof,dict"`
	WorkspaceID    string    `parquet:"workspace_id"`
	Kind           string    `parquet:"kind,dict"`
	DryRun         bool      `parquet:"dry_run"`
	Allowed        *bool     `parquet:"allowed,optional"` // null where an error was answered
	Code           string    `parquet:"code,dict"`        // of the deny or of the error
	Reason         string    `parquet:"reason,dict"`      // of the violation that denied, as rule and message
	Rule           string    `parquet:"rule,dict"`
	Message        string    `parquet:"message,dict"` // or the detail of the error
	MarkedFailed   bool      `parquet:"marked_failed"`
	PolicyRevision string    `parquet:"policy_revision,dict"`
	FactsMicros    int64     `parquet:"facts_us"`
	PolicyMicros   int64     `parquet:"policy_us"`
	Violations     string    `parquet:"violations,json"` // of all enforcements
	Erased         string    `parquet:"erased,json"`     // JSON pointers into input
	Masked         string    `parquet:"masked,json"`
	Input          string    `parquet:"input,json"`
	RequestID      string    `parquet:"request_id"`
	TraceParent    string    `parquet:"traceparent"`
}

// NewRow makes the row of a decision.
func NewRow(d *admission.Decision) (Row, error) {
	r := Row{
		ID: d.ID.String(), DecidedAt: d.At.UTC(), UID: d.UID, Hook: d.Hook, Caller: d.Caller, CallerProof: string(d.CallerProof),
		WorkspaceID: d.WorkspaceID.String(), Kind: d.Kind, DryRun: d.DryRun, Code: d.Code(), MarkedFailed: d.MarkedFailed,
		PolicyRevision: d.Verdict.Revision, FactsMicros: d.Timings.Facts.Microseconds(), PolicyMicros: d.Timings.Policy.Microseconds(),
		Input: string(d.Input), RequestID: d.Trace.RequestID, TraceParent: d.Trace.Parent,
	}
	if d.Failed != nil {
		r.Message = d.Failed.Detail
	} else {
		r.Allowed = new(d.Verdict.Allowed())
	}
	if denying := d.Verdict.Denying(); denying != nil {
		r.Reason, r.Rule, r.Message = denying.Reason, denying.Rule, denying.Message
	}
	for _, part := range []struct {
		into  *string
		value any
	}{{&r.Violations, d.Verdict.Violations}, {&r.Erased, d.Redaction.Erased}, {&r.Masked, d.Redaction.Masked}} {
		text, err := json.Marshal(part.value, jsontext.AllowInvalidUTF8(true))
		if err != nil {
			return Row{}, err
		}
		*part.into = string(text)
	}
	return r, nil
}
