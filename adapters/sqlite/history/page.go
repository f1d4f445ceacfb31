package history

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/adapters/sqlite/connection"
	"github.com/molecule-ai/gatehouse/internal/decisionrow"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// pageSQL names the index by which a page is read. SQLite would choose by statistics that nobody gathers here, and
// where it guesses wrong, a listing that is a matter of milliseconds reads millions of rows. An index that is named
// and of no use is an error, which tests see.
func pageSQL(q ledger.Query) (query string, args []any) {
	page, args := decisionrow.Page(q, dialect())
	return fmt.Sprintf("select %s from decisions d indexed by %s%s", DecisionColumns, pageIndex(q.Filter), page), args
}

// pageIndex is the one by which the fewest decisions are looked at, as a rule.
func pageIndex(f ledger.Filter) string {
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

func dialect() decisionrow.Dialect {
	return decisionrow.Dialect{
		ID:      func(id uuid.UUID) any { return id.String() },
		Time:    func(t time.Time) any { return connection.TimeText(t) },
		Allowed: "d.allowed = 1", Denied: "d.allowed = 0",
		// The answer of a uid is found by the claim that it made, errors by an index of their own.
		UID: `d.id in (
    select decision_id from request_uids where uid = ?
    union all
    select id from decisions indexed by decisions_failed_uid where uid = ? and error_code is not null)`,
	}
}
