package decisionrow

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/ledger"
)

// Dialect is how a database has what a filter asks for. Conditions are written as the indexes have them: a partial index
// is used only where its own condition is seen.
type Dialect struct {
	ID   func(uuid.UUID) any
	Time func(time.Time) any // of a whole microsecond
	// UID finds the answer of a uid, and the errors of its requests, which do not answer it. ? is the uid.
	UID             string
	Allowed, Denied string
}

// conditions are a where clause that grows. What is not asked for is not in it: "$1 is null or …" would hide the indexes
// from the planner.
type conditions struct {
	texts     []string
	arguments []any
}

// add takes a condition in which ? is the value.
func (c *conditions) add(condition string, value any) {
	c.arguments = append(c.arguments, value)
	c.texts = append(c.texts, strings.ReplaceAll(condition, "?", fmt.Sprintf("$%d", len(c.arguments))))
}

// Page is what follows "from decisions d" in the statement of a page. The limit is in the text because what a planner
// chooses depends on it.
func Page(q ledger.Query, in Dialect) (sql string, arguments []any) {
	sql, arguments = where(q, in)
	order := " order by d.id desc"
	if q.OldestFirst {
		order = " order by d.id"
	}
	return fmt.Sprintf("%s%s limit %d", sql, order, q.Limit), arguments
}

// All is what follows "from decisions d" in the statement that looks at all decisions that a filter selects.
func All(f ledger.Filter, in Dialect) (sql string, arguments []any) {
	return where(ledger.Query{Filter: f}, in)
}

func where(q ledger.Query, in Dialect) (sql string, arguments []any) {
	var c conditions
	c.filter(q.Filter, in)
	c.span(q, in)
	if len(c.texts) == 0 {
		return "", nil
	}
	return " where " + strings.Join(c.texts, " and "), c.arguments
}

func (c *conditions) filter(f ledger.Filter, in Dialect) {
	if f.UID != "" {
		c.add(in.UID, f.UID)
	}
	if f.WorkspaceID != uuid.Nil {
		c.add("d.workspace_id = ?", in.ID(f.WorkspaceID))
	}
	if f.Code != "" {
		c.add("d.code = ?", f.Code)
	}
	if f.Hook != "" {
		c.add("d.hook = ?", f.Hook)
	}
	c.flag(f.Failed, "d.error_code is not null", "d.error_code is null")
	c.flag(f.Allowed, in.Allowed, in.Denied)
	if !f.Since.IsZero() {
		c.add("d.decided_at >= ?", in.Time(Ceiling(f.Since)))
	}
	if !f.Until.IsZero() {
		c.add("d.decided_at < ?", in.Time(Ceiling(f.Until)))
	}
}

func (c *conditions) flag(asked *bool, yes, no string) {
	switch {
	case asked == nil:
	case *asked:
		c.texts = append(c.texts, yes)
	default:
		c.texts = append(c.texts, no)
	}
}

// Ceiling is the first whole microsecond that is not before t: decisions have no finer times.
func Ceiling(t time.Time) time.Time { return t.Add(time.Microsecond - 1).Truncate(time.Microsecond) }

// span bounds the ids at each end once: of two bounds SQLite would seek by one and read what lies between.
func (c *conditions) span(q ledger.Query, in Dialect) {
	first, last := q.IDs()
	lower := "d.id >= ?"
	if q.OldestFirst && bytes.Compare(q.After[:], first[:]) >= 0 {
		lower, first = "d.id > ?", q.After
	}
	if !q.OldestFirst && q.After != uuid.Nil && (last == uuid.Nil || bytes.Compare(q.After[:], last[:]) < 0) {
		last = q.After
	}
	if first != uuid.Nil {
		c.add(lower, in.ID(first))
	}
	if last != uuid.Nil {
		c.add("d.id < ?", in.ID(last))
	}
}
