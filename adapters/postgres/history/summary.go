package history

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/molecule-ai/gatehouse/adapters/postgres/connection"
	"github.com/molecule-ai/gatehouse/internal/decisionrow"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// One statement is one snapshot: a decision that is counted among all is counted by its codes too. A code that two
// violations of a decision have counts once.
const summarySQL = `
with chosen as materialized (
    select d.id, d.hook, d.workspace_id, d.allowed, d.error_code, d.decided_at, d.violations
    from gatehouse.decisions d%s
), fired as (
    select distinct c.id, c.hook, c.workspace_id, c.allowed, c.decided_at, v->>'code' as code, v->>'enforcement' as enforcement
    from chosen c cross join json_array_elements(c.violations) v
    where c.error_code is null and c.violations::text <> '[]'
)
select 0 as place, '', '', '', count(*), count(*) filter (where allowed), count(*) filter (where not allowed),
    count(error_code), 'epoch'::timestamptz, ''
from chosen
union all
select 1, code, hook, enforcement, count(*), count(*) filter (where allowed), count(distinct workspace_id),
    0, max(decided_at), max(id::text)
from fired group by code, hook, enforcement
order by place, 6 desc, 2, 3, 4`

// Summarize counts the decisions of a filter by their codes. It reads all of them.
func (r DecisionReader) Summarize(ctx context.Context, filter ledger.Filter) (ledger.Summary, error) {
	where, arguments := decisionrow.All(filter, dialect())
	rows, err := r.pool.Query(ctx, fmt.Sprintf(summarySQL, where), arguments...)
	if err != nil {
		return ledger.Summary{}, connection.Explain(ctx, fmt.Errorf("summing up decisions: %w", err))
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (decisionrow.SummaryRow, error) {
		var s decisionrow.SummaryRow
		err := row.Scan(s.Targets()...)
		return s, err
	})
	if err != nil {
		return ledger.Summary{}, connection.Explain(ctx, fmt.Errorf("summing up decisions: %w", err))
	}
	return decisionrow.Summarize(found)
}
