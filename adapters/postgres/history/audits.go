package history

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/molecule-ai/gatehouse/adapters/postgres/connection"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/audit"
)

const (
	saveAuditSQL = `
with run as (
    insert into gatehouse.audit_runs (
        id, hook, state, enforce, policy_revision, candidate, saas, facts_revision, started_at, updated_at, finished_at,
        worked_us, cursor, evaluated, denied, warned, failed, marked, violations,
        not_judged
    ) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
    on conflict (id) do update set
        hook = excluded.hook, state = excluded.state, enforce = excluded.enforce,
        policy_revision = excluded.policy_revision, candidate = excluded.candidate, saas = excluded.saas,
        facts_revision = excluded.facts_revision, started_at = excluded.started_at,
        updated_at = excluded.updated_at, finished_at = excluded.finished_at, worked_us = excluded.worked_us,
        cursor = excluded.cursor, evaluated = excluded.evaluated, denied = excluded.denied,
        warned = excluded.warned, failed = excluded.failed, marked = excluded.marked, violations = excluded.violations,
        not_judged = excluded.not_judged
)
insert into gatehouse.audit_findings (
    run_id, workspace_id, kind, status, denied, code, violations, error, marked, decision_id
)
select * from unnest(
    $21::uuid[], $22::uuid[], $23::text[], $24::text[], $25::boolean[], $26::text[], $27::json[], $28::text[],
    $29::boolean[], $30::uuid[]
)
on conflict (run_id, workspace_id) do nothing`

	auditsSQL = `
select id, hook, state, enforce, policy_revision, candidate, saas, facts_revision, started_at, updated_at, finished_at,
    worked_us, cursor, evaluated, denied, warned, failed, marked, violations, not_judged
from gatehouse.audit_runs order by id desc limit $1`

	auditFindingsSQL = `
select run_id, workspace_id, kind, status, denied, code, violations, error, marked, decision_id
from gatehouse.audit_findings f
`

	// Uuids of version 7 are ordered by time.
	oldAuditsSQL = `
select id from (
    select id, row_number() over (partition by candidate order by id desc) as nth from gatehouse.audit_runs
) runs where nth > $1 order by id desc`

	pruneFindingsSQL = `
delete from gatehouse.audit_findings
where run_id = $1 and workspace_id = any (array(
    select workspace_id from gatehouse.audit_findings where run_id = $1 order by workspace_id limit $2
))`
)

// AuditStore keeps runs of the audit and what they found.
type AuditStore struct{ pool *connection.Pool }

// SaveAudit keeps a run as it is now, and findings that are new, in one transaction.
func (s AuditStore) SaveAudit(ctx context.Context, run audit.Run, findings []audit.Finding) error {
	counts, err := json.Marshal(run.Violations, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("encoding the counts of an audit: %w", err)
	}
	notJudged, err := json.Marshal(run.NotJudged)
	if err != nil {
		return fmt.Errorf("encoding what an audit did not judge: %w", err)
	}
	var rows findingRows
	for i := range findings {
		err = rows.add(&findings[i])
		if err != nil {
			return err
		}
	}
	var saas *bool
	if run.Deployment != nil {
		saas = &run.Deployment.SaaS
	}
	arguments := []any{
		[16]byte(run.ID), run.Hook, string(run.State), run.Enforce, run.Revision, run.Candidate, saas, run.FactsRevision,
		run.StartedAt, run.UpdatedAt, run.FinishedAt, run.Worked.Microseconds(), [16]byte(run.Cursor), run.Evaluated,
		run.Denied, run.Warned, run.Failed, run.Marked, counts, notJudged,
	}
	_, err = s.pool.Exec(ctx, saveAuditSQL, append(arguments, rows.arguments()...)...)
	if err != nil {
		return connection.Explain(ctx, fmt.Errorf("saving an audit: %w", err))
	}
	return nil
}

// findingRows are findings as the arrays that saveAuditSQL takes.
type findingRows struct {
	runs, workspaces               [][16]byte
	kinds, statuses, codes, errors []string
	denied, marked                 []bool
	violations                     [][]byte
	decisions                      []*[16]byte
}

func (r *findingRows) add(f *audit.Finding) error {
	violations, err := EncodeViolations(f.Violations)
	if err != nil {
		return err
	}
	var decision *[16]byte
	if f.DecisionID != uuid.Nil {
		decision = (*[16]byte)(&f.DecisionID)
	}
	r.runs, r.workspaces = append(r.runs, f.RunID), append(r.workspaces, f.WorkspaceID)
	r.kinds, r.statuses = append(r.kinds, f.Kind), append(r.statuses, f.Status)
	r.codes, r.errors = append(r.codes, f.Code), append(r.errors, string(f.Error))
	r.denied, r.marked = append(r.denied, f.Denied), append(r.marked, f.Marked)
	r.violations, r.decisions = append(r.violations, violations), append(r.decisions, decision)
	return nil
}

func (r *findingRows) arguments() []any {
	return []any{
		r.runs, r.workspaces, r.kinds, r.statuses, r.denied, r.codes, r.violations, r.errors, r.marked, r.decisions,
	}
}

// Audits are the last so many runs, newest first.
func (s AuditStore) Audits(ctx context.Context, limit int) ([]audit.Run, error) {
	rows, err := s.pool.Query(ctx, auditsSQL, limit)
	if err != nil {
		return nil, connection.Explain(ctx, fmt.Errorf("reading audits: %w", err))
	}
	runs, err := pgx.CollectRows(rows, readAudit)
	if err != nil {
		return nil, connection.Explain(ctx, fmt.Errorf("reading audits: %w", err))
	}
	return runs, nil
}

func readAudit(row pgx.CollectableRow) (audit.Run, error) {
	var run audit.Run
	var workedMicros int64
	var counts, notJudged []byte
	var saas *bool
	err := row.Scan((*[16]byte)(&run.ID), &run.Hook, (*string)(&run.State), &run.Enforce, &run.Revision,
		&run.Candidate, &saas, &run.FactsRevision, &run.StartedAt, &run.UpdatedAt, &run.FinishedAt, &workedMicros, (*[16]byte)(&run.Cursor),
		&run.Evaluated, &run.Denied, &run.Warned, &run.Failed, &run.Marked, &counts, &notJudged)
	if err != nil {
		return run, err
	}
	err = json.Unmarshal(counts, &run.Violations)
	if err != nil {
		return run, fmt.Errorf("audit %s: reading its counts: %w", run.ID, err)
	}
	err = json.Unmarshal(notJudged, &run.NotJudged)
	if err != nil {
		return run, fmt.Errorf("audit %s: reading what it did not judge: %w", run.ID, err)
	}
	if saas != nil {
		run.Deployment = &admission.Deployment{SaaS: *saas}
	}
	run.Worked = time.Duration(workedMicros) * time.Microsecond
	run.StartedAt, run.UpdatedAt = run.StartedAt.UTC(), run.UpdatedAt.UTC()
	if run.FinishedAt != nil {
		run.FinishedAt = new(run.FinishedAt.UTC())
	}
	return run, nil
}

// AuditFindings gives one page of the findings of a run, in order of workspaces.
func (s AuditStore) AuditFindings(ctx context.Context, query audit.Query) ([]audit.Finding, error) {
	sql, arguments := auditFindingsSQL+"where run_id = $1 and workspace_id > $2", []any{[16]byte(query.RunID), [16]byte(query.After)}
	if query.Code != "" {
		sql, arguments = sql+" and code = $3", append(arguments, query.Code)
	}
	rows, err := s.pool.Query(ctx, sql+" order by workspace_id limit "+strconv.Itoa(query.Limit), arguments...)
	if err != nil {
		return nil, connection.Explain(ctx, fmt.Errorf("reading the findings of an audit: %w", err))
	}
	findings, err := pgx.CollectRows(rows, readFinding)
	if err != nil {
		return nil, connection.Explain(ctx, fmt.Errorf("reading the findings of an audit: %w", err))
	}
	return findings, nil
}

func readFinding(row pgx.CollectableRow) (audit.Finding, error) {
	var f audit.Finding
	var violations []byte
	var decision *[16]byte
	err := row.Scan((*[16]byte)(&f.RunID), (*[16]byte)(&f.WorkspaceID), &f.Kind, &f.Status, &f.Denied, &f.Code, &violations,
		(*string)(&f.Error), &f.Marked, &decision)
	if err != nil {
		return f, err
	}
	err = json.Unmarshal(violations, &f.Violations)
	if err != nil {
		return f, fmt.Errorf("finding of workspace %s: reading its violations: %w", f.WorkspaceID, err)
	}
	if decision != nil {
		f.DecisionID = *decision
	}
	return f, nil
}

// PruneAudits deletes all but the newest so many runs of the live policies, and so many of candidates. The findings of
// one go first, in batches: until a run has lost all of them it is there to be pruned again.
func (s AuditStore) PruneAudits(ctx context.Context, keep int) error {
	rows, err := s.pool.Query(ctx, oldAuditsSQL, keep)
	if err != nil {
		return connection.Explain(ctx, fmt.Errorf("looking for old audits: %w", err))
	}
	old, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return connection.Explain(ctx, fmt.Errorf("looking for old audits: %w", err))
	}
	for _, id := range old {
		err = s.deleteAudit(ctx, id)
		if err != nil {
			return connection.Explain(ctx, fmt.Errorf("deleting an old audit: %w", err))
		}
	}
	return nil
}

func (s AuditStore) deleteAudit(ctx context.Context, id uuid.UUID) error {
	for {
		tag, err := s.pool.Exec(ctx, pruneFindingsSQL, [16]byte(id), pruneBatch)
		if err != nil {
			return err
		}
		if tag.RowsAffected() < pruneBatch {
			break
		}
	}
	_, err := s.pool.Exec(ctx, "delete from gatehouse.audit_runs where id = $1", [16]byte(id))
	return err
}
