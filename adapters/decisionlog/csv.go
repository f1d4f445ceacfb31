package decisionlog

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/molecule-ai/gatehouse/server/admission"
)

type csvColumn struct {
	name string
	cell func(r *Row) string
}

func csvColumns() []csvColumn {
	return []csvColumn{
		{"id", func(r *Row) string { return r.ID }},
		{"decided_at", func(r *Row) string { return r.DecidedAt.Format(time.RFC3339Nano) }},
		{"uid", func(r *Row) string { return r.UID }},
		{"hook", func(r *Row) string { return r.Hook }},
		{"caller", func(r *Row) string { return r.Caller }},
		{"caller_proof", func(r *Row) string { return r.CallerProof }},
		{"workspace_id", func(r *Row) string { return r.WorkspaceID }},
		{"kind", func(r *Row) string { return r.Kind }},
		{"dry_run", func(r *Row) string { return strconv.FormatBool(r.DryRun) }},
		{"allowed", func(r *Row) string {
			if r.Allowed == nil {
				return ""
			}
			return strconv.FormatBool(*r.Allowed)
		}},
		{"code", func(r *Row) string { return r.Code }},
		{"reason", func(r *Row) string { return r.Reason }},
		{"rule", func(r *Row) string { return r.Rule }},
		{"message", func(r *Row) string { return r.Message }},
		{"marked_failed", func(r *Row) string { return strconv.FormatBool(r.MarkedFailed) }},
		{"policy_revision", func(r *Row) string { return r.PolicyRevision }},
		{"facts_us", func(r *Row) string { return strconv.FormatInt(r.FactsMicros, 10) }},
		{"policy_us", func(r *Row) string { return strconv.FormatInt(r.PolicyMicros, 10) }},
		{"violations", func(r *Row) string { return r.Violations }},
		{"erased", func(r *Row) string { return r.Erased }},
		{"masked", func(r *Row) string { return r.Masked }},
		{"input", func(r *Row) string { return r.Input }},
		{"request_id", func(r *Row) string { return r.RequestID }},
		{"traceparent", func(r *Row) string { return r.TraceParent }},
	}
}

// CSVWriter writes a line of names and then rows, by RFC 4180.
type CSVWriter struct {
	out     *csv.Writer
	columns []csvColumn
	record  []string
}

// NewCSVWriter writes to out.
func NewCSVWriter(out io.Writer) *CSVWriter {
	w := &CSVWriter{out: csv.NewWriter(out), columns: csvColumns()}
	w.record = make([]string, len(w.columns))
	for i, column := range w.columns {
		w.record[i] = column.name
	}
	_ = w.out.Write(w.record) // the names are only buffered here
	return w
}

// Write writes one row.
func (w *CSVWriter) Write(d *admission.Decision) error {
	row, err := NewRow(d)
	if err != nil {
		return err
	}
	for i, column := range w.columns {
		w.record[i] = noFormula(column.cell(&row))
	}
	return w.out.Write(w.record)
}

// Close writes what is buffered.
func (w *CSVWriter) Close() error {
	w.out.Flush()
	return w.out.Error()
}

// noFormula puts a quote before a cell that a spreadsheet would compute. Somebody may send a uid =HYPERLINK(…) for an
// analyst to click on. No number that Gatehouse writes begins like this.
func noFormula(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r\n", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}
