package cli

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Form is the flag of commands that answer as text or as JSON.
type Form struct {
	Output string `help:"Form of the answer." enum:"text,json" default:"text"`
}

// Write writes an answer in the form that was asked for.
func (f Form) Write(w io.Writer, answer any, text func(io.Writer) error) error {
	if f.Output == "json" {
		return WriteJSON(w, answer)
	}
	return text(w)
}

// Table writes rows with aligned columns. Flush ends it, and gives the first error.
type Table struct{ *tabwriter.Writer }

// NewTable begins a table with the names of its columns.
func NewTable(w io.Writer, columns ...any) Table {
	table := Table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	table.Row(columns...)
	return table
}

// Row writes the values of a row.
func (t Table) Row(values ...any) {
	for i, value := range values {
		if i > 0 {
			_, _ = fmt.Fprint(t, "\t")
		}
		_, _ = fmt.Fprint(t, value)
	}
	_, _ = fmt.Fprintln(t)
}

// WriteMore says how a list goes on, if it does.
func WriteMore(w io.Writer, next string) error {
	if next == "" {
		return nil
	}
	_, err := fmt.Fprintf(w, "more: --cursor %s\n", next)
	return err
}
