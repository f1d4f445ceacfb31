package decisionlog

import (
	"io"

	"github.com/parquet-go/parquet-go"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// groupBytes is the text after which a group of rows ends. A group is in memory until it is written.
const (
	groupBytes = 16 << 20
	rowBytes   = 512 // of the other columns, about
)

// ParquetWriter writes rows in groups, compressed with Zstandard.
type ParquetWriter struct {
	out  *parquet.GenericWriter[Row]
	held int
}

// NewParquetWriter writes to out.
func NewParquetWriter(out io.Writer) *ParquetWriter {
	return &ParquetWriter{out: parquet.NewGenericWriter[Row](out, parquet.Compression(&parquet.Zstd))}
}

// Write writes one row.
func (w *ParquetWriter) Write(d *admission.Decision) error {
	row, err := NewRow(d)
	if err != nil {
		return err
	}
	_, err = w.out.Write([]Row{row})
	if err != nil {
		return err
	}
	w.held += rowBytes + len(row.Input) + len(row.Violations)
	if w.held < groupBytes {
		return nil
	}
	w.held = 0
	return w.out.Flush()
}

// Close writes the last group and the footer, without which there is no file.
func (w *ParquetWriter) Close() error { return w.out.Close() }
