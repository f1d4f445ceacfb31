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

// CSVWriter writes rows as RFC 4180 has it, below a line of names.
type CSVWriter struct {
	out     *csv.Writer
	columns []csvColumn
	record  []string
}

// NewCSVWriter writes to out. The names are written with the first row, or when there is none by Close.
func NewCSVWriter(out io.Writer) *CSVWriter {
	return &CSVWriter{out: csv.NewWriter(out), columns: csvColumns()}
}

// Write writes one row.
func (w *CSVWriter) Write(d *admission.Decision) error {
	row, err := NewRow(d)
	if err != nil {
		return err
	}
	err = w.names()
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
	err := w.names()
	if err != nil {
		return err
	}
	w.out.Flush()
	return w.out.Error()
}

func (w *CSVWriter) names() error {
	if w.record != nil {
		return nil
	}
	w.record = make([]string, len(w.columns))
	for i, column := range w.columns {
		w.record[i] = column.name
	}
	return w.out.Write(w.record)
}

// noFormula puts a quote before what a spreadsheet would compute, such as a uid =HYPERLINK(…) that somebody sent so
// that an analyst opens it. No number of ours begins like this.
func noFormula(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r\n", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}
