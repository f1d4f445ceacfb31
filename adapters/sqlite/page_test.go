package sqlite

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// TestPagesAreReadInOrderFromWhereTheyBegin looks at SQLite's plans: each page is a search by the index that it names,
// bounded by ids where there are any, and nothing is sorted.
func TestPagesAreReadInOrderFromWhereTheyBegin(t *testing.T) {
	s, now := openMigrated(t), time.Now()
	for _, c := range []struct {
		filter admission.DecisionFilter
		plan   string
	}{
		{admission.DecisionFilter{}, "USING INDEX decisions_id (id<?)"},
		{admission.DecisionFilter{Since: now.Add(-time.Hour), Until: now}, "USING INDEX decisions_id (id>? AND id<?)"},
		{admission.DecisionFilter{WorkspaceID: uuid.New(), Code: "C"}, "USING INDEX decisions_workspace (workspace_id=? AND id<?)"},
		{admission.DecisionFilter{Code: "C", Hook: "h", Since: now}, "USING INDEX decisions_code (code=? AND id>? AND id<?)"},
		{admission.DecisionFilter{Hook: "h", Allowed: new(true)}, "USING INDEX decisions_hook (hook=? AND id<?)"},
		{admission.DecisionFilter{Hook: "h", Allowed: new(false)}, "USING INDEX decisions_denied (id<?)"},
		{admission.DecisionFilter{Failed: new(true)}, "USING INDEX decisions_failed (id<?)"},
		{admission.DecisionFilter{UID: "u"}, "USING INDEX decisions_id (id=?)"},
		{admission.DecisionFilter{UID: "u"}, "USING PRIMARY KEY (uid=?)"},
		{admission.DecisionFilter{UID: "u"}, "USING INDEX decisions_failed_uid (uid=?)"},
	} {
		query, args := pageSQL(admission.DecisionQuery{DecisionFilter: c.filter, After: admission.FirstDecisionID(now), Limit: 50})
		plan := planOf(t, s, query, args)
		require.Contains(t, plan, c.plan)
		require.NotContains(t, plan, "SCAN")
		require.NotContains(t, plan, "TEMP B-TREE")
	}
}

// TestPruningLooksAtNothingThatStays: neither at the uids of other decisions, nor at findings of other runs.
func TestPruningLooksAtNothingThatStays(t *testing.T) {
	s := openMigrated(t)
	for _, query := range []string{pruneUIDsSQL, pruneDecisionsSQL, pruneFindingsSQL} {
		plan := planOf(t, s, query, []any{"id", "2026-01-01", 1}[:strings.Count(query, "$")])
		require.NotContains(t, plan, "SCAN", query)
	}
}

func openMigrated(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.Context(), Options{Path: filepath.Join(t.TempDir(), "gatehouse.db")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, s.Migrate(t.Context()))
	return s
}

func planOf(t *testing.T, s *Store, query string, args []any) string {
	t.Helper()
	rows, err := s.readers.QueryContext(t.Context(), "explain query plan "+query, args...)
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
