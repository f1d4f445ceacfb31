package history

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/molecule-ai/gatehouse/adapters/postgres/connection"
	"github.com/molecule-ai/gatehouse/internal/decisionrow"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// DecisionColumns are what DecisionRow reads of gatehouse.decisions d.
const DecisionColumns = decisionrow.Columns + `, d.redaction`

// SelectDecisions is a query up to its where.
const SelectDecisions = "select " + DecisionColumns + "\nfrom gatehouse.decisions d\n"

// A transaction has this lock from before it takes a seq until after its commit can be seen; see eventWritersSQL.
// Pruning works on partitions and is not among them.
const decisionWritersSQL = `
select virtualtransaction from pg_locks
where locktype = 'relation' and relation = 'gatehouse.decisions'::regclass and mode = 'RowExclusiveLock' and granted
    and database = (select oid from pg_database where datname = current_database())`

// DecisionReader reads recorded decisions.
type DecisionReader struct{ pool *connection.Pool }

// Decision gives one by its id, or ledger.ErrNoDecision.
func (r DecisionReader) Decision(ctx context.Context, id uuid.UUID) (ledger.Decision, error) {
	found, err := r.queryDecisions(ctx, SelectDecisions+"where d.id = $1", [16]byte(id))
	if err != nil {
		return ledger.Decision{}, err
	}
	if len(found) == 0 {
		return ledger.Decision{}, ledger.ErrNoDecision
	}
	return found[0], nil
}

// Decisions gives one page in order of ids. What it costs is the page, where the filter names a workspace, a code,
// a uid, a time, denies or errors; a hook alone may have it look at many more.
func (r DecisionReader) Decisions(ctx context.Context, query ledger.Query) ([]ledger.Decision, error) {
	sql, arguments := decisionsSQL(query)
	return r.queryDecisions(ctx, sql, arguments...)
}

// DecisionsAfter gives up to limit decisions of the ledger whose seq is greater than after, in the order of seq, as
// of one snapshot. As with EventsAfter, a lower seq may appear after a higher one, and
// DecisionWriters tells whether one still can. Decisions that were recorded before there was a seq have 0, and are not here.
func (r DecisionReader) DecisionsAfter(ctx context.Context, after int64, limit int) ([]ledger.Decision, error) {
	return r.queryDecisions(ctx, SelectDecisions+"where d.seq > $1 order by d.seq limit "+strconv.Itoa(limit), max(after, 0))
}

// LastDecisionSeq is the greatest seq that can be read, 0 if there is none.
func (r DecisionReader) LastDecisionSeq(ctx context.Context) (int64, error) {
	var last int64
	err := r.pool.QueryRow(ctx, "select coalesce(max(seq), 0) from gatehouse.decisions").Scan(&last)
	if err != nil {
		return 0, connection.Explain(ctx, fmt.Errorf("reading the end of the ledger of decisions: %w", err))
	}
	return last, nil
}

// DecisionWriters names the transactions, of all processes, that are writing decisions now; see EventWriters.
func (r DecisionReader) DecisionWriters(ctx context.Context) ([]string, error) {
	rows, err := r.pool.Query(ctx, decisionWritersSQL)
	if err != nil {
		return nil, connection.Explain(ctx, fmt.Errorf("asking who writes decisions: %w", err))
	}
	writers, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, connection.Explain(ctx, fmt.Errorf("asking who writes decisions: %w", err))
	}
	return writers, nil
}

func decisionsSQL(query ledger.Query) (string, []any) {
	page, arguments := decisionrow.Page(query, dialect())
	return SelectDecisions + page, arguments
}

func dialect() decisionrow.Dialect {
	return decisionrow.Dialect{
		ID:      func(id uuid.UUID) any { return [16]byte(id) },
		Time:    func(t time.Time) any { return t },
		Allowed: "d.allowed", Denied: "not d.allowed",
		UID: `d.id = any (array(
    select decision_id from gatehouse.request_uids where uid = ?
    union all select id from gatehouse.decisions where uid = ? and error_code is not null))`,
	}
}

func (r DecisionReader) queryDecisions(ctx context.Context, sql string, arguments ...any) ([]ledger.Decision, error) {
	rows, err := r.pool.Query(ctx, sql, arguments...)
	if err != nil {
		return nil, connection.Explain(ctx, fmt.Errorf("reading decisions: %w", err))
	}
	defer rows.Close()

	var row DecisionRow
	targets := row.Targets()
	var found []ledger.Decision
	for rows.Next() {
		err = rows.Scan(targets...)
		if err != nil {
			return nil, connection.Explain(ctx, fmt.Errorf("reading decisions: %w", err))
		}
		read, err := row.Decision()
		if err != nil {
			return nil, err
		}
		found = append(found, read)
	}
	err = rows.Err()
	if err != nil {
		return nil, connection.Explain(ctx, fmt.Errorf("reading decisions: %w", err))
	}
	return found, nil
}

// DecisionRow is a row as it is scanned. One does for all rows of a page.
type DecisionRow struct {
	decisionrow.Row

	eventID   *[16]byte
	redaction pgtype.DriverBytes // the driver's, until the next row
}

// Targets are in the order of DecisionColumns.
func (r *DecisionRow) Targets() []any {
	return []any{
		(*[16]byte)(&r.ID), &r.Seq, &r.At, &r.UID, &r.Hook, &r.Caller, &r.CallerProof, (*[16]byte)(&r.WorkspaceID), &r.Kind,
		&r.Revision, &r.Marked, &r.DryRun, &r.ErrorCode, &r.ErrorDetail,
		(*pgtype.DriverBytes)(&r.Violations), &r.eventID, (*pgtype.DriverBytes)(&r.Event), &r.Input,
		&r.FactsMicros, &r.PolicyMicros, &r.RequestID, &r.TraceParent, &r.redaction,
	}
}

// Decision is what was scanned.
func (r *DecisionRow) Decision() (ledger.Decision, error) {
	r.EventID, r.Redaction = uuid.Nil, admission.Redaction{}
	if r.eventID != nil {
		r.EventID = *r.eventID
	}
	if r.redaction != nil {
		err := json.Unmarshal(r.redaction, &r.Redaction)
		if err != nil {
			return ledger.Decision{}, fmt.Errorf("decision %s: %w", r.ID, err)
		}
	}
	return r.Row.Decision()
}
