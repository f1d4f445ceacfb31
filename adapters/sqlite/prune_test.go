package sqlite_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/server/audit"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

func TestOldDecisionsAreDeletedInManyBatches(t *testing.T) {
	s := openDemo(t, sqlite.Options{})
	now := time.Now()
	fill(t, s, 1800, now)
	before := now.Add(-10 * 24 * time.Hour)
	old := count(t, s, `select count(*) from decisions where decided_at < $1`, before.UTC().Format(oldTime))
	require.Greater(t, old, 1000)

	pruned, err := s.PruneDecisions(t.Context(), now, before)
	require.NoError(t, err)

	require.Equal(t, ledger.Pruned{Decisions: int64(old)}, pruned)
	kept, err := s.Decisions(t.Context(), ledger.Query{OldestFirst: true, Limit: 5000})
	require.NoError(t, err)
	require.Len(t, kept, 1800-old)
	require.False(t, kept[0].Decision.At.Before(before))
}

func TestSeqIsNotGivenTwice(t *testing.T) {
	s := openDemo(t, sqlite.Options{})
	now := time.Now()
	fill(t, s, 10, now)
	_, err := s.PruneDecisions(t.Context(), now, now.Add(time.Hour))
	require.NoError(t, err)
	last, err := s.LastDecisionSeq(t.Context())
	require.NoError(t, err)
	require.Zero(t, last)

	_, err = s.Record(t.Context(), allow(researcher))
	require.NoError(t, err)

	next, err := s.DecisionsAfter(t.Context(), 10, 10)
	require.NoError(t, err)
	require.Len(t, next, 1)
}

func TestFileTakesNewDecisionsInPlaceOfOldOnes(t *testing.T) {
	s := openDemo(t, sqlite.Options{})
	now := time.Now()
	fill(t, s, 600, now)
	pages := count(t, s, `select page_count from pragma_page_count`)
	for range 3 {
		_, err := s.PruneDecisions(t.Context(), now, now.Add(time.Hour))
		require.NoError(t, err)
		fill(t, s, 600, now)
	}
	require.InEpsilon(t, pages, count(t, s, `select page_count from pragma_page_count`), 0.1)
}

func TestPruneRunsInOneProcessAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	s, other := openDemo(t, sqlite.Options{Path: path}), open(t, sqlite.Options{Path: path})
	now := time.Now()
	fill(t, s, 10, now)
	release, _, held, err := other.Exclusive(t.Context(), "prune-decisions")
	require.NoError(t, err)
	require.True(t, held)
	defer release()

	pruned, err := s.PruneDecisions(t.Context(), now, now.Add(time.Hour))

	require.NoError(t, err)
	require.Equal(t, ledger.Pruned{}, pruned)
	require.Equal(t, 10, count(t, s, `select count(*) from decisions`))
}

func TestRunsOfManyFindingsAreDeletedWhole(t *testing.T) {
	s := openDemo(t, sqlite.Options{})
	run := audit.Run{ID: uuid.Must(uuid.NewV7()), State: audit.Finished}
	findings := make([]audit.Finding, 1200)
	for i := range findings {
		findings[i] = audit.Finding{RunID: run.ID, WorkspaceID: uuid.New()}
	}
	require.NoError(t, s.SaveAudit(t.Context(), run, findings))
	require.Equal(t, 1200, count(t, s, `select count(*) from audit_findings`))

	require.NoError(t, s.PruneAudits(t.Context(), 0))

	require.Equal(t, 0, count(t, s, `select (select count(*) from audit_findings) + (select count(*) from audit_runs)`))
}
