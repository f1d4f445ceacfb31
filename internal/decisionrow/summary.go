package decisionrow

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// SummaryRow is a row of the statement that sums decisions up. The first one is of all decisions, the others are of one code,
// hook and enforcement each.
type SummaryRow struct {
	Place                   int // 0 for the first
	Code, Hook, Enforcement string
	Decisions, Allowed      int64
	Third                   int64 // how many were denied in the first row, different workspaces in the others
	Failed                  int64 // in the first row
	Last                    time.Time
	Example                 string
}

// Targets are in the order of the columns. A store that keeps times as text scans the last but one by itself.
func (r *SummaryRow) Targets() []any {
	return []any{&r.Place, &r.Code, &r.Hook, &r.Enforcement, &r.Decisions, &r.Allowed, &r.Third, &r.Failed, &r.Last, &r.Example}
}

// Summarize makes a summary of its rows.
func Summarize(rows []SummaryRow) (ledger.Summary, error) {
	summary := ledger.Summary{Codes: []ledger.CodeSummary{}}
	for _, row := range rows {
		if row.Place == 0 {
			summary.Decisions, summary.Allowed, summary.Denied, summary.Failed = row.Decisions, row.Allowed, row.Third, row.Failed
			continue
		}
		example, err := uuid.Parse(row.Example)
		if err != nil {
			return ledger.Summary{}, fmt.Errorf("summing up decisions: the id of an example: %w", err)
		}
		summary.Codes = append(summary.Codes, ledger.CodeSummary{
			Code: row.Code, Hook: row.Hook, Enforcement: admission.Enforcement(row.Enforcement), Decisions: row.Decisions,
			WouldDeny: row.Allowed, Workspaces: row.Third, Last: row.Last.UTC(), Example: example,
		})
	}
	return summary, nil
}
