package history

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/molecule-ai/gatehouse/adapters/sqlite/connection"
	"github.com/molecule-ai/gatehouse/internal/decisionrow"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// One statement is one snapshot: a decision that is counted among all is counted by its codes too. A code that two
// violations of a decision have counts once.
const summarySQL = `
with chosen as materialized (
    select d.id, d.hook, d.workspace_id, d.allowed, d.error_code, d.decided_at, d.violations
    from decisions d indexed by %s%s
), fired as (
    select distinct c.id, c.hook, c.workspace_id, c.allowed, c.decided_at, v.value->>'code' as code, v.value->>'enforcement' as enforcement
    from chosen c, json_each(c.violations) v
    where c.error_code is null and c.violations <> '[]'
)
select 0 as place, '', '', '', count(*), count(*) filter (where allowed = 1), count(*) filter (where allowed = 0),
    count(error_code), '', ''
from chosen
union all
select 1, code, hook, enforcement, count(*), count(*) filter (where allowed = 1), count(distinct workspace_id),
    0, max(decided_at), max(id)
from fired group by code, hook, enforcement
order by 1, 6 desc, 2, 3, 4`

// Summarize counts the decisions of a filter by their codes. It reads all of them.
func (r DecisionReader) Summarize(ctx context.Context, filter ledger.Filter) (ledger.Summary, error) {
	where, args := decisionrow.All(filter, dialect())
	found, err := connection.Collect(ctx, r.file.Readers, scanSummary, fmt.Sprintf(summarySQL, pageIndex(filter), where), args...)
	if err != nil {
		return ledger.Summary{}, fmt.Errorf("summing up decisions: %w", connection.Explain(ctx, err))
	}
	return decisionrow.Summarize(found)
}

func scanSummary(rows *sql.Rows) (row decisionrow.SummaryRow, err error) {
	targets := row.Targets()
	var last string
	targets[len(targets)-2] = &last
	err = rows.Scan(targets...)
	if err == nil && last != "" {
		row.Last, err = time.Parse(connection.TimeLayout, last)
	}
	return row, err
}
