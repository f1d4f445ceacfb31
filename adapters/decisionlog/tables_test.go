package decisionlog_test

import (
	"bytes"
	"encoding/csv"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/decisionlog"
	"github.com/molecule-ai/gatehouse/server/admission"
)

type writer interface {
	Write(d *admission.Decision) error
	Close() error
}

func writeAll(t *testing.T, w writer, decisions ...admission.Decision) {
	t.Helper()
	for i := range decisions {
		require.NoError(t, w.Write(&decisions[i]))
	}
	require.NoError(t, w.Close())
}

func rows(t *testing.T, decisions ...admission.Decision) []decisionlog.Row {
	t.Helper()
	made := make([]decisionlog.Row, len(decisions))
	for i := range decisions {
		var err error
		made[i], err = decisionlog.NewRow(&decisions[i])
		require.NoError(t, err)
	}
	return made
}

func TestParquetReadsBackAsItWasWritten(t *testing.T) {
	decisions := []admission.Decision{allowed(t), denied(t), failed(t)}
	var out bytes.Buffer
	writeAll(t, decisionlog.NewParquetWriter(&out), decisions...)

	read, err := parquet.Read[decisionlog.Row](bytes.NewReader(out.Bytes()), int64(out.Len()))

	require.NoError(t, err)
	require.Equal(t, rows(t, decisions...), read)
	require.True(t, at().Equal(read[0].DecidedAt), "to the microsecond")
	require.Nil(t, read[2].Allowed)
}

func TestParquetWithoutRowsIsAFile(t *testing.T) {
	var out bytes.Buffer
	writeAll(t, decisionlog.NewParquetWriter(&out))
	read, err := parquet.Read[decisionlog.Row](bytes.NewReader(out.Bytes()), int64(out.Len()))
	require.NoError(t, err)
	require.Empty(t, read)
}

func TestParquetIsWrittenInGroupsThatFitIntoMemory(t *testing.T) {
	d := allowed(t)
	d.Input = []byte(`"` + strings.Repeat("x", 1<<20) + `"`)
	var out bytes.Buffer
	w := decisionlog.NewParquetWriter(&out)
	for range 18 {
		require.NoError(t, w.Write(&d))
	}
	require.NotZero(t, out.Len(), "before it is closed")
	require.NoError(t, w.Close())

	file, err := parquet.OpenFile(bytes.NewReader(out.Bytes()), int64(out.Len()))

	require.NoError(t, err)
	require.EqualValues(t, 18, file.NumRows())
	require.Len(t, file.RowGroups(), 2)
}

func TestCSVHasTheColumnsOfParquet(t *testing.T) {
	var out bytes.Buffer
	writeAll(t, decisionlog.NewCSVWriter(&out))
	read, err := csv.NewReader(&out).ReadAll()
	require.NoError(t, err)
	var names []string
	for _, field := range parquet.SchemaOf(decisionlog.Row{}).Fields() {
		names = append(names, field.Name())
	}
	require.Equal(t, [][]string{names}, read)
}

func TestCSVReadsBackAsItWasWritten(t *testing.T) {
	decisions := []admission.Decision{allowed(t), denied(t), failed(t)}
	var out bytes.Buffer
	writeAll(t, decisionlog.NewCSVWriter(&out), decisions...)

	read, err := csv.NewReader(&out).ReadAll()

	require.NoError(t, err)
	require.Len(t, read, 4)
	cell := func(row int, name string) string {
		for i, column := range read[0] {
			if column == name {
				return read[row][i]
			}
		}
		t.Fatal("no column", name)
		return ""
	}
	require.Equal(t, decisions[0].ID.String(), cell(1, "id"))
	require.Equal(t, "2026-04-01T12:00:00.123456Z", cell(1, "decided_at"))
	require.Equal(t, []string{"true", "false", ""}, []string{cell(1, "allowed"), cell(2, "allowed"), cell(3, "allowed")})
	require.Equal(t, "No MODEL,\n\"really\".", cell(2, "message"))
	require.Equal(t, []string{"GATE", "model_missing", "model", "true"},
		[]string{cell(2, "code"), cell(2, "reason"), cell(2, "rule"), cell(2, "marked_failed")})
	require.Equal(t, []string{"412", "96"}, []string{cell(1, "facts_us"), cell(1, "policy_us")})
	require.Equal(t, string(decisions[0].Input), cell(1, "input"))
	require.JSONEq(t, `["/input/request/name"]`, cell(2, "masked"))
	require.Contains(t, cell(2, "violations"), `"enforcement":"audit"`)
	require.Equal(t, "the facts of the workspace cannot be read", cell(3, "message"))
}

func TestCSVHasNoFormulaFromACaller(t *testing.T) {
	for _, uid := range []string{`=HYPERLINK("http://evil.example.com")`, "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"} {
		d := allowed(t)
		d.UID = uid
		var out bytes.Buffer
		writeAll(t, decisionlog.NewCSVWriter(&out), d)
		read, err := csv.NewReader(&out).ReadAll()
		require.NoError(t, err)
		require.Equal(t, byte('\''), read[1][2][0], uid)
	}
}
