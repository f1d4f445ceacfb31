package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/adapters/sqlite/connection"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/audit"
)

const (
	saveRunSQL = `
insert into audit_runs (id, hook, state, enforce, policy_revision, candidate, saas, facts_revision, started_at,
                        updated_at, finished_at, worked_us, cursor, evaluated, denied, warned, failed, marked, violations,
                        not_judged)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
on conflict (id) do update set
    hook = excluded.hook, state = excluded.state, enforce = excluded.enforce,
    policy_revision = excluded.policy_revision, candidate = excluded.candidate, saas = excluded.saas,
    facts_revision = excluded.facts_revision, started_at = excluded.started_at, updated_at = excluded.updated_at,
    finished_at = excluded.finished_at, worked_us = excluded.worked_us, cursor = excluded.cursor,
    evaluated = excluded.evaluated, denied = excluded.denied, warned = excluded.warned, failed = excluded.failed,
    marked = excluded.marked, violations = excluded.violations, not_judged = excluded.not_judged`

	saveFindingSQL = `
insert into audit_findings (run_id, workspace_id, kind, workspace_status, denied, code, violations, error_code, marked,
                            decision_id)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
on conflict (run_id, workspace_id) do nothing`

	// UUIDs of version 7 are ordered by time.
	runsSQL = `
select id, hook, state, enforce, policy_revision, candidate, saas, facts_revision, started_at, updated_at,
       finished_at, worked_us, cursor, evaluated, denied, warned, failed, marked, violations, not_judged
from audit_runs order by id desc limit $1`

	findingsSQL = `
select run_id, workspace_id, kind, workspace_status, denied, code, violations, coalesce(error_code, ''), marked,
       decision_id
from audit_findings
where run_id = $1 and workspace_id > $2 order by workspace_id limit $3`

	findingsOfCodeSQL = `
select run_id, workspace_id, kind, workspace_status, denied, code, violations, coalesce(error_code, ''), marked,
       decision_id
from audit_findings indexed by audit_findings_code
where run_id = $1 and code = $4 and workspace_id > $2 order by workspace_id limit $3`

	oldRunsSQL = `
select id from (select id, row_number() over (partition by candidate order by id desc) as nth from audit_runs)
where nth > $1 order by id desc`

	pruneFindingsSQL = `
delete from audit_findings
where (run_id, workspace_id) in (select run_id, workspace_id from audit_findings where run_id = $1 limit $2)`
)

// AuditStore keeps runs of the audit and what they found.
type AuditStore struct{ file *connection.File }

// SaveAudit keeps a run as it is now, and findings that are new, in one transaction. Saving them again changes
// nothing.
func (s AuditStore) SaveAudit(ctx context.Context, run audit.Run, findings []audit.Finding) error {
	err := s.file.InTransaction(ctx, func(tx *sql.Tx) error {
		err := saveRun(ctx, tx, run)
		if err != nil {
			return err
		}
		return saveFindings(ctx, tx, findings)
	})
	if err != nil {
		return fmt.Errorf("saving a run of the audit: %w", connection.Explain(ctx, err))
	}
	return nil
}

func saveRun(ctx context.Context, tx *sql.Tx, r audit.Run) error {
	violations, err := json.Marshal(r.Violations, json.Deterministic(true))
	if err != nil {
		return err
	}
	notJudged, err := json.Marshal(r.NotJudged)
	if err != nil {
		return err
	}
	var finished any
	if r.FinishedAt != nil {
		finished = connection.TimeText(*r.FinishedAt)
	}
	var saas sql.Null[bool]
	if r.Deployment != nil {
		saas = sql.Null[bool]{V: r.Deployment.SaaS, Valid: true}
	}
	_, err = tx.ExecContext(ctx, saveRunSQL, r.ID.String(), r.Hook, string(r.State), r.Enforce, r.Revision,
		r.Candidate, saas, r.FactsRevision, connection.TimeText(r.StartedAt), connection.TimeText(r.UpdatedAt), finished,
		r.Worked.Microseconds(), r.Cursor.String(), r.Evaluated, r.Denied, r.Warned, r.Failed, r.Marked, string(violations), string(notJudged))
	return err
}

func saveFindings(ctx context.Context, tx *sql.Tx, findings []audit.Finding) (err error) {
	if len(findings) == 0 {
		return nil
	}
	insert, err := tx.PrepareContext(ctx, saveFindingSQL)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, insert.Close()) }()
	for _, f := range findings {
		violations, err := json.Marshal(f.Violations)
		if err != nil {
			return err
		}
		_, err = insert.ExecContext(ctx, f.RunID.String(), f.WorkspaceID.String(), f.Kind, f.Status, f.Denied, f.Code,
			string(violations), OrNull(string(f.Error)), f.Marked, unlessNil(f.DecisionID))
		if err != nil {
			return err
		}
	}
	return nil
}

func unlessNil(id uuid.UUID) sql.Null[string] {
	return sql.Null[string]{V: id.String(), Valid: id != uuid.Nil}
}

// Audits are the last so many runs, newest first.
func (s AuditStore) Audits(ctx context.Context, limit int) ([]audit.Run, error) {
	runs, err := connection.Collect(ctx, s.file.Readers, scanRun, runsSQL, limit)
	if err != nil {
		return nil, fmt.Errorf("reading runs of the audit: %w", connection.Explain(ctx, err))
	}
	return runs, nil
}

// AuditFindings gives one page of the findings of a run, in order of workspaces.
func (s AuditStore) AuditFindings(ctx context.Context, q audit.Query) ([]audit.Finding, error) {
	query, args := findingsSQL, []any{q.RunID.String(), q.After.String(), q.Limit}
	if q.Code != "" {
		query, args = findingsOfCodeSQL, append(args, q.Code)
	}
	findings, err := connection.Collect(ctx, s.file.Readers, scanFinding, query, args...)
	if err != nil {
		return nil, fmt.Errorf("reading findings of the audit: %w", connection.Explain(ctx, err))
	}
	return findings, nil
}

func scanRun(rows *sql.Rows) (r audit.Run, err error) {
	var started, updated string
	var finished sql.Null[string]
	var workedUS int64
	var saas sql.Null[bool]
	var violations, notJudged sql.RawBytes
	err = rows.Scan(&r.ID, &r.Hook, &r.State, &r.Enforce, &r.Revision, &r.Candidate, &saas, &r.FactsRevision,
		&started, &updated, &finished, &workedUS, &r.Cursor, &r.Evaluated, &r.Denied, &r.Warned, &r.Failed, &r.Marked, &violations, &notJudged)
	if err != nil {
		return r, err
	}
	if saas.Valid {
		r.Deployment = &admission.Deployment{SaaS: saas.V}
	}
	r.Worked = time.Duration(workedUS) * time.Microsecond
	times := map[*time.Time]string{&r.StartedAt: started, &r.UpdatedAt: updated}
	if finished.Valid {
		r.FinishedAt = new(time.Time)
		times[r.FinishedAt] = finished.V
	}
	for into, text := range times {
		*into, err = time.Parse(connection.TimeLayout, text)
		if err != nil {
			return r, err
		}
	}
	err = errors.Join(json.Unmarshal(violations, &r.Violations), json.Unmarshal(notJudged, &r.NotJudged))
	return r, err
}

func scanFinding(rows *sql.Rows) (f audit.Finding, err error) {
	var violations sql.RawBytes
	err = rows.Scan(&f.RunID, &f.WorkspaceID, &f.Kind, &f.Status, &f.Denied, &f.Code, &violations, &f.Error, &f.Marked,
		&f.DecisionID)
	if err != nil {
		return f, err
	}
	err = json.Unmarshal(violations, &f.Violations)
	return f, err
}

// PruneAudits deletes all but the newest so many runs of the live policies, and so many of candidates, with their
// findings. A run goes after its findings, so that one that was interrupted is found again.
func (s AuditStore) PruneAudits(ctx context.Context, keep int) error {
	err := s.pruneAudits(ctx, keep)
	if err != nil {
		return fmt.Errorf("deleting old runs of the audit: %w", connection.Explain(ctx, err))
	}
	return nil
}

func (s AuditStore) pruneAudits(ctx context.Context, keep int) error {
	old, err := connection.Collect(ctx, s.file.Readers, connection.ScanID, oldRunsSQL, keep)
	if err != nil {
		return err
	}
	for _, id := range old {
		err = s.file.InBatches(ctx, func(tx *sql.Tx) (more bool, err error) {
			deleted, err := connection.Affected(tx.ExecContext(ctx, pruneFindingsSQL, id.String(), pruneBatch))
			if err != nil || deleted == pruneBatch {
				return true, err
			}
			_, err = tx.ExecContext(ctx, `delete from audit_runs where id = $1`, id.String())
			return false, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
