package sqlite_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/server/admission"
)

func requireUnavailable(t *testing.T, err error, reason string) {
	t.Helper()
	var coded *admission.Error
	require.ErrorAs(t, err, &coded)
	require.Equal(t, admission.CodeLedgerUnavailable, coded.Code)
	require.Equal(t, reason, coded.Detail)
}

// requireRefusesAll has a file refuse all that writes, and say why.
func requireRefusesAll(t *testing.T, s *sqlite.Store, facts admission.Facts, reason string) {
	t.Helper()
	_, err := s.Record(t.Context(), allow(researcher))
	requireUnavailable(t, err, reason)
	_, err = s.RecordAndMark(t.Context(), deny(modelless), facts, neverJudge)
	requireUnavailable(t, err, reason)
}

func TestReadOnlyFileIsAnUnavailableLedger(t *testing.T) {
	s := openDemo(t, sqlite.Options{})
	facts, err := s.Facts(t.Context(), modelless)
	require.NoError(t, err)
	_, err = s.Writer().ExecContext(t.Context(), "pragma query_only = on")
	require.NoError(t, err)

	requireRefusesAll(t, s, facts, "the SQLite file is read-only")
	requireUnavailable(t, s.PutSecretKey(t.Context(), modelless, "MODEL"), "the SQLite file is read-only")
	requireUnavailable(t, s.DeleteWorkspace(t.Context(), modelless), "the SQLite file is read-only")
	requireUnavailable(t, s.LedgerReady(t.Context(), false), "the SQLite file is read-only")

	_, err = s.Writer().ExecContext(t.Context(), "pragma query_only = off")
	require.NoError(t, err)
	require.NoError(t, s.LedgerReady(t.Context(), true))
	_, err = s.Record(t.Context(), allow(researcher))
	require.NoError(t, err)
}

// max_page_count gives SQLite's own "disk full", which comes with the first decision that needs another page.
func TestFullFileIsAnUnavailableLedger(t *testing.T) {
	s := openDemo(t, sqlite.Options{})
	pages := count(t, s, "select page_count from pragma_page_count")
	require.Equal(t, pages, count(t, s, fmt.Sprintf("pragma max_page_count = %d", pages)))
	var err error
	for range 1000 {
		_, err = s.Record(t.Context(), allow(researcher))
		if err != nil {
			break
		}
	}
	requireUnavailable(t, err, "the disk is full")
	requireUnavailable(t, s.LedgerReady(t.Context(), true), "the disk is full")

	before := count(t, s, "select count(*) from decisions")
	count(t, s, "pragma max_page_count = 100000")
	require.NoError(t, s.LedgerReady(t.Context(), true))
	require.Equal(t, before, count(t, s, "select count(*) from decisions"), "looking records nothing")
	require.Zero(t, count(t, s, "select count(*) from request_uids"))
	_, err = s.Record(t.Context(), allow(researcher))
	require.NoError(t, err)
}

// SQLite writes on into a file that was deleted, without an error, and nobody would find again what was answered.
func TestMissingFileIsAnUnavailableLedger(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "data")
	path := filepath.Join(folder, "gatehouse.db")
	s := openDemo(t, sqlite.Options{Path: path})
	const reason = "the SQLite file is no longer where it was opened"
	facts, err := s.Facts(t.Context(), modelless)
	require.NoError(t, err)

	require.NoError(t, os.Rename(folder, folder+"-gone"))
	requireRefusesAll(t, s, facts, reason)
	requireUnavailable(t, s.LedgerReady(t.Context(), false), reason)

	require.NoError(t, os.Mkdir(folder, 0o700))
	require.NoError(t, os.WriteFile(path, nil, 0o600), "another file in its place")
	requireRefusesAll(t, s, facts, reason)
	require.NoError(t, os.RemoveAll(folder))

	require.NoError(t, os.Rename(folder+"-gone", folder))
	require.Zero(t, count(t, s, "select count(*) from decisions"))
	require.NoError(t, s.LedgerReady(t.Context(), true))
	_, err = s.Record(t.Context(), allow(researcher))
	require.NoError(t, err)
}
