package history

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/molecule-ai/gatehouse/adapters/postgres/connection"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// DecisionColumns are what DecisionRow reads.
const DecisionColumns = `
    d.id, d.seq, d.decided_at, d.uid, d.hook, d.caller, d.caller_proof, d.workspace_id, d.kind, d.policy_revision,
    d.marked_failed, d.violations, d.event_id, d.event, d.input, d.facts_us, d.policy_us, d.dry_run,
    d.error_code, d.error_detail, d.redaction, d.request_id, d.traceparent`

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

// Decision gives one by its id, or admission.ErrNoDecision.
func (r DecisionReader) Decision(ctx context.Context, id uuid.UUID) (admission.LedgerDecision, error) {
	found, err := r.queryDecisions(ctx, SelectDecisions+"where d.id = $1", [16]byte(id))
	if err != nil {
		return admission.LedgerDecision{}, err
	}
	if len(found) == 0 {
		return admission.LedgerDecision{}, admission.ErrNoDecision
	}
	return found[0], nil
}

// Decisions gives one page in order of ids. What it costs is the page, where the filter names a workspace, a code,
// a uid, a time, denies or errors; a hook alone may have it look at many more.
func (r DecisionReader) Decisions(ctx context.Context, query admission.DecisionQuery) ([]admission.LedgerDecision, error) {
	sql, arguments := decisionsSQL(query)
	return r.queryDecisions(ctx, sql, arguments...)
}

// DecisionsAfter gives up to limit decisions of the ledger whose seq is greater than after, in the order of seq, as
// of one snapshot. What is said of EventsAfter holds here too: a lower seq may appear after a higher one, and
// DecisionWriters tells. Decisions that were recorded before there was a seq have 0, and are not here.
func (r DecisionReader) DecisionsAfter(ctx context.Context, after int64, limit int) ([]admission.LedgerDecision, error) {
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

// conditions are a where clause that grows by fixed fragments, in which $? is the next parameter. A filter that is
// not asked for is not in it: "$1 is null or …" would hide the indexes from the planner.
type conditions struct {
	fragments []string
	arguments []any
}

func (c *conditions) add(fragment string, arguments ...any) {
	for _, argument := range arguments {
		c.arguments = append(c.arguments, argument)
		fragment = strings.Replace(fragment, "$?", "$"+strconv.Itoa(len(c.arguments)), 1)
	}
	c.fragments = append(c.fragments, fragment)
}

// decisionsSQL is the statement of a page. Where an index has a condition, a fragment repeats or implies it. The
// limit is in the text because what the planner chooses hangs on it.
func decisionsSQL(query admission.DecisionQuery) (string, []any) {
	var where conditions
	addFilter(&where, query.DecisionFilter)
	order, beyond := " order by d.id desc", "d.id < $?"
	if query.OldestFirst {
		order, beyond = " order by d.id", "d.id > $?"
	}
	if query.After != uuid.Nil {
		where.add(beyond, [16]byte(query.After))
	}
	sql := SelectDecisions
	if len(where.fragments) > 0 {
		sql += "where " + strings.Join(where.fragments, " and ")
	}
	return sql + order + " limit " + strconv.Itoa(query.Limit), where.arguments
}

func addFilter(where *conditions, filter admission.DecisionFilter) {
	if filter.Hook != "" {
		where.add("d.hook = $?", filter.Hook)
	}
	if filter.Allowed != nil {
		where.add(map[bool]string{true: "d.allowed", false: "not d.allowed"}[*filter.Allowed])
	}
	if filter.Failed != nil {
		where.add(map[bool]string{true: "d.error_code is not null", false: "d.error_code is null"}[*filter.Failed])
	}
	if filter.Code != "" {
		where.add("d.code = $?", filter.Code)
	}
	if filter.WorkspaceID != uuid.Nil {
		where.add("d.workspace_id = $?", [16]byte(filter.WorkspaceID))
	}
	if filter.UID != "" {
		where.add(`d.id = any (array(
    select decision_id from gatehouse.request_uids where uid = $?
    union all select id from gatehouse.decisions where uid = $? and error_code is not null))`, filter.UID, filter.UID)
	}
	first, last := filter.IDs()
	if !filter.Since.IsZero() {
		where.add("d.id >= $? and d.decided_at >= $?", [16]byte(first), filter.Since)
	}
	if !filter.Until.IsZero() {
		where.add("d.id < $? and d.decided_at < $?", [16]byte(last), filter.Until)
	}
}

func (r DecisionReader) queryDecisions(ctx context.Context, sql string, arguments ...any) ([]admission.LedgerDecision, error) {
	rows, err := r.pool.Query(ctx, sql, arguments...)
	if err != nil {
		return nil, connection.Explain(ctx, fmt.Errorf("reading decisions: %w", err))
	}
	defer rows.Close()

	var row DecisionRow
	targets := row.Targets()
	var found []admission.LedgerDecision
	for rows.Next() {
		row.reset()
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
	read                         admission.LedgerDecision
	uid, errorCode, errorDetail  *string
	requestID, traceParent       *string
	violations, event, redaction pgtype.DriverBytes // the driver's, until the next row
	input                        []byte
	eventID                      *[16]byte
	factsMicros, policyMicros    int64
}

func (r *DecisionRow) reset() { r.read, r.input = admission.LedgerDecision{}, nil }

// Targets are in the order of DecisionColumns.
func (r *DecisionRow) Targets() []any {
	d := &r.read.Decision
	return []any{
		(*[16]byte)(&d.ID), &r.read.Seq, &d.At, &r.uid, &d.Hook, &d.Caller, (*string)(&d.CallerProof),
		(*[16]byte)(&d.WorkspaceID), &d.Kind, &d.Verdict.Revision, &d.MarkedFailed, &r.violations, &r.eventID, &r.event,
		&r.input, &r.factsMicros, &r.policyMicros, &d.DryRun, &r.errorCode, &r.errorDetail, &r.redaction,
		&r.requestID, &r.traceParent,
	}
}

// Decision is what was scanned.
func (r *DecisionRow) Decision() (admission.LedgerDecision, error) {
	d := &r.read.Decision
	d.At, d.Input, d.Unenforced = d.At.UTC(), r.input, d.DryRun
	d.Timings = admission.Timings{
		Facts:  time.Duration(r.factsMicros) * time.Microsecond,
		Policy: time.Duration(r.policyMicros) * time.Microsecond,
	}
	for _, column := range []struct{ from, into *string }{
		{r.uid, &d.UID}, {r.requestID, &d.Trace.RequestID}, {r.traceParent, &d.Trace.Parent},
	} {
		if column.from != nil {
			*column.into = *column.from
		}
	}
	if r.errorCode != nil && r.errorDetail != nil {
		d.Failed = &admission.Failure{Code: admission.Code(*r.errorCode), Detail: *r.errorDetail}
	}
	err := r.decode()
	if err != nil {
		return admission.LedgerDecision{}, fmt.Errorf("decision %s: %w", d.ID, err)
	}
	return r.read, nil
}

// decode reads the columns of JSON. Most decisions have nothing in them.
func (r *DecisionRow) decode() error {
	d := &r.read.Decision
	var violations, event, redaction error
	if string(r.violations) != "[]" {
		violations = json.Unmarshal(r.violations, &d.Verdict.Violations)
	}
	if r.eventID != nil {
		d.Event = &admission.Event{ID: *r.eventID, DecisionID: d.ID, Hook: d.Hook}
		event = json.Unmarshal(r.event, d.Event)
	}
	if r.redaction != nil {
		redaction = json.Unmarshal(r.redaction, &d.Redaction)
	}
	return errors.Join(violations, event, redaction)
}
