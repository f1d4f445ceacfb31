package history

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/adapters/sqlite/connection"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// uidCondition finds the answer of a uid by the claim that it made, and by an index of their own the errors, which
// claim none.
const uidCondition = `d.id in (
    select decision_id from request_uids where uid = ?
    union all
    select id from decisions indexed by decisions_failed_uid where uid = ? and error_code is not null)`

// pageSQL names the index by which a page is read. SQLite would choose by statistics that nobody gathers here, and
// where it guesses wrong, a listing that is a matter of milliseconds reads millions of rows. An index that is named
// and of no use is an error, which tests see.
func pageSQL(q admission.DecisionQuery) (query string, args []any) {
	var c conditions
	c.filter(q.DecisionFilter)
	c.span(q)
	where := ""
	if len(c.where) > 0 {
		where = "where " + strings.Join(c.where, " and ")
	}
	direction := "desc"
	if q.OldestFirst {
		direction = "asc"
	}
	return fmt.Sprintf("select %s from decisions d indexed by %s %s order by d.id %s limit %d",
		DecisionColumns, pageIndex(q.DecisionFilter), where, direction, q.Limit), c.args
}

// pageIndex is the one by which the fewest decisions are looked at, as a rule.
func pageIndex(f admission.DecisionFilter) string {
	switch {
	case f.UID != "":
		return "decisions_id"
	case f.WorkspaceID != uuid.Nil:
		return "decisions_workspace"
	case f.Code != "":
		return "decisions_code"
	case f.Failed != nil && *f.Failed:
		return "decisions_failed"
	case f.Allowed != nil && !*f.Allowed:
		return "decisions_denied"
	case f.Hook != "":
		return "decisions_hook"
	default:
		return "decisions_id"
	}
}

// conditions gather what selects a page.
type conditions struct {
	where []string
	args  []any
}

// add takes a condition in which ? is the value.
func (c *conditions) add(condition string, value any) {
	c.args = append(c.args, value)
	c.where = append(c.where, strings.ReplaceAll(condition, "?", fmt.Sprintf("$%d", len(c.args))))
}

// filter writes flags out, as a partial index is used only where its own condition is seen.
func (c *conditions) filter(f admission.DecisionFilter) {
	if f.UID != "" {
		c.add(uidCondition, f.UID)
	}
	if f.WorkspaceID != uuid.Nil {
		c.add("d.workspace_id = ?", f.WorkspaceID.String())
	}
	if f.Code != "" {
		c.add("d.code = ?", f.Code)
	}
	if f.Hook != "" {
		c.add("d.hook = ?", f.Hook)
	}
	if f.Failed != nil {
		c.where = append(c.where, map[bool]string{true: "d.error_code is not null", false: "d.error_code is null"}[*f.Failed])
	}
	if f.Allowed != nil {
		c.where = append(c.where, map[bool]string{true: "d.allowed = 1", false: "d.allowed = 0"}[*f.Allowed])
	}
	if !f.Since.IsZero() {
		c.add("d.decided_at >= ?", connection.TimeText(ceiling(f.Since)))
	}
	if !f.Until.IsZero() {
		c.add("d.decided_at < ?", connection.TimeText(ceiling(f.Until)))
	}
}

// ceiling is the first whole microsecond that is not before t: decisions have no finer times.
func ceiling(t time.Time) time.Time { return t.Add(time.Microsecond - 1).Truncate(time.Microsecond) }

// span bounds the ids at each end once: of two bounds SQLite would seek by one and read what lies between.
func (c *conditions) span(q admission.DecisionQuery) {
	first, last := q.IDs()
	lower := "d.id >= ?"
	if q.OldestFirst && bytes.Compare(q.After[:], first[:]) >= 0 {
		lower, first = "d.id > ?", q.After
	}
	if !q.OldestFirst && q.After != uuid.Nil && (last == uuid.Nil || bytes.Compare(q.After[:], last[:]) < 0) {
		last = q.After
	}
	if first != uuid.Nil {
		c.add(lower, first.String())
	}
	if last != uuid.Nil {
		c.add("d.id < ?", last.String())
	}
}
