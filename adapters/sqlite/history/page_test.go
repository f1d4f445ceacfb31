package history_test

import (
	"database/sql"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/adapters/sqlite/connection"
	"github.com/molecule-ai/gatehouse/adapters/sqlite/history"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// TestPagesAreReadByTheIndexTheyName looks at SQLite's plans: each page is a search by the index that it names,
// bounded by ids where there are any, and nothing is sorted.
func TestPagesAreReadByTheIndexTheyName(t *testing.T) {
	readers, now := openMigrated(t), time.Now()
	for _, c := range []struct {
		filter ledger.Filter
		plan   string
	}{
		{ledger.Filter{}, "USING INDEX decisions_id (id<?)"},
		{ledger.Filter{Since: now.Add(-time.Hour), Until: now}, "USING INDEX decisions_id (id>? AND id<?)"},
		{ledger.Filter{WorkspaceID: uuid.New(), Code: "C"}, "USING INDEX decisions_workspace (workspace_id=? AND id<?)"},
		{ledger.Filter{Code: "C", Hook: "h", Since: now}, "USING INDEX decisions_code (code=? AND id>? AND id<?)"},
		{ledger.Filter{Hook: "h", Allowed: new(true)}, "USING INDEX decisions_hook (hook=? AND id<?)"},
		{ledger.Filter{Hook: "h", Allowed: new(false)}, "USING INDEX decisions_denied (id<?)"},
		{ledger.Filter{Failed: new(true)}, "USING INDEX decisions_failed (id<?)"},
		{ledger.Filter{UID: "u"}, "USING INDEX decisions_id (id=?)"},
		{ledger.Filter{UID: "u"}, "USING PRIMARY KEY (uid=?)"},
		{ledger.Filter{UID: "u"}, "USING INDEX decisions_failed_uid (uid=?)"},
	} {
		query, args := history.PageSQL(ledger.Query{Filter: c.filter, After: admission.FirstDecisionID(now), Limit: 50})
		plan := planOf(t, readers, query, args)
		require.Contains(t, plan, c.plan)
		require.NotContains(t, plan, "SCAN")
		require.NotContains(t, plan, "TEMP B-TREE")
	}
}

// TestPruningLooksAtNothingThatStays looks neither at the uids of other decisions, nor at findings of other runs.
func TestPruningLooksAtNothingThatStays(t *testing.T) {
	readers := openMigrated(t)
	for _, query := range history.PruningStatements() {
		plan := planOf(t, readers, query, []any{"id", "2026-01-01", 1}[:strings.Count(query, "$")])
		require.NotContains(t, plan, "SCAN", query)
	}
}

// openMigrated gives the readers of a file with empty tables.
func openMigrated(t *testing.T) *sql.DB {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	s, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
	require.NoError(t, err)
	require.NoError(t, s.Migrate(t.Context()))
	require.NoError(t, s.Close())
	file, err := connection.Open(t.Context(), path, 0, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, file.Close()) })
	return file.Readers
}

func planOf(t *testing.T, from *sql.DB, query string, args []any) string {
	t.Helper()
	rows, err := from.QueryContext(t.Context(), "explain query plan "+query, args...)
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	var steps []string
	for rows.Next() {
		var id, parent, unused int
		var step string
		require.NoError(t, rows.Scan(&id, &parent, &unused, &step))
		steps = append(steps, step)
	}
	require.NoError(t, rows.Err())
	return strings.Join(steps, "\n")
}
