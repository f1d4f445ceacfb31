package sqlite_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/internal/groupcommit"
)

func TestFilesAreForTheirOwnerAlone(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "new", "data")
	s := openDemo(t, sqlite.Options{Path: filepath.Join(folder, "gatehouse.db")})
	_, err := s.Record(t.Context(), allow(researcher))
	require.NoError(t, err)
	release, _, held, err := s.Exclusive(t.Context(), "audit")
	require.NoError(t, err)
	require.True(t, held)
	defer release()

	info, err := os.Stat(folder)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	files, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Len(t, files, 5, "the file, its -wal and -shm, and the locks of migrations and of audits")
	for _, file := range files {
		info, err := file.Info()
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), file.Name())
	}
}

func TestMigrationKeepsRightsThatAnOperatorGave(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Chmod(path, 0o640))
	openDemo(t, sqlite.Options{Path: path})
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode().Perm())
}

// TestCloseBringsTheWALBack has no statement keep a connection open: only the last to close removes the WAL.
func TestCloseBringsTheWALBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	s, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
	require.NoError(t, err)
	require.NoError(t, s.Migrate(t.Context()))
	d := allow(researcher)
	d.UID = "uid"
	_, err = s.Record(t.Context(), d)
	require.NoError(t, err)
	_, err = s.Recorded(t.Context(), d.RequestKey())
	require.NoError(t, err)
	_, err = s.Facts(t.Context(), researcher)
	require.NoError(t, err)
	require.FileExists(t, path+"-wal")

	require.NoError(t, s.Close())
	require.NoFileExists(t, path+"-wal")
	_, err = s.Facts(t.Context(), researcher)
	require.ErrorContains(t, err, "the SQLite store is closed")
	_, err = s.Record(t.Context(), d)
	require.ErrorIs(t, err, groupcommit.ErrClosed)
}

func TestOpenRefuses(t *testing.T) {
	folder := t.TempDir()
	text := filepath.Join(folder, "notes.txt")
	require.NoError(t, os.WriteFile(text, []byte("This is a text, and it is long enough to be no header."), 0o600))
	for _, c := range []struct{ path, says string }{
		{"", "a path is required"},
		{":memory:", "in memory is not supported"},
		{"file::memory:?cache=shared", "in memory is not supported"},
		{folder, "unable to open database file"},
		{filepath.Join(text, "gatehouse.db"), "not a directory"},
		{text, "file is not a database"},
	} {
		_, err := sqlite.Open(t.Context(), sqlite.Options{Path: c.path})
		require.ErrorContains(t, err, c.says, c.path)
		require.ErrorContains(t, err, "opening the SQLite store", c.path)
	}
	content, err := os.ReadFile(text)
	require.NoError(t, err)
	require.Equal(t, "This is a text, and it is long enough to be no header.", string(content))
}

func TestFilePathsAreTakenAsTheyAre(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b", "100%25?mode=ro&x#y.db")
	openDemo(t, sqlite.Options{Path: path})
	require.FileExists(t, path)
}

// TestSettings looks at what the promises rest on.
func TestSettings(t *testing.T) {
	s := openDemo(t, sqlite.Options{})
	require.Equal(t, 1, count(t, s, `select journal_mode = 'wal' from pragma_journal_mode`))
	require.Equal(t, 2, count(t, s, `select synchronous from pragma_synchronous`), "FULL: every commit is synced")
	require.Equal(t, 1, count(t, s, `select foreign_keys from pragma_foreign_keys`))
	require.Equal(t, 1000, count(t, s, `select timeout from pragma_busy_timeout`))
	require.Equal(t, 1, s.Writer().Stats().MaxOpenConnections)
}

func TestWritesAreThereForAnotherStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	first := openDemo(t, sqlite.Options{Path: path})
	second := open(t, sqlite.Options{Path: path})

	d := allow(researcher)
	d.UID = "request 1"
	_, err := first.Record(t.Context(), d)
	require.NoError(t, err)
	recorded, err := second.Recorded(t.Context(), d.RequestKey())
	require.NoError(t, err)
	require.Equal(t, d, recorded)
}

// versions are those of all migrations.
func versions(t *testing.T) []int64 {
	t.Helper()
	files, err := os.ReadDir("migrations")
	require.NoError(t, err)
	found := make([]int64, len(files))
	for i, file := range files {
		found[i], err = goose.NumericComponent(file.Name())
		require.NoError(t, err)
	}
	return found
}

func TestMigrate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	s := open(t, sqlite.Options{Path: path})
	require.ErrorContains(t, s.LedgerReady(t.Context(), false), fmt.Sprintf("the SQLite store lacks the migrations %v; run gatehouse migrate", versions(t)))
	pending, err := s.Pending(t.Context())
	require.NoError(t, err)
	require.Equal(t, versions(t), pending)
	require.Equal(t, 0, count(t, s, `select count(*) from sqlite_schema`), "looking changes nothing")

	require.NoError(t, s.Migrate(t.Context()))
	pending, err = s.Pending(t.Context())
	require.NoError(t, err)
	require.Empty(t, pending)
	require.NoError(t, s.LedgerReady(t.Context(), false))
	require.NoError(t, s.Migrate(t.Context()), "a second time does nothing")

	_, err = s.Writer().ExecContext(t.Context(), `insert into goose_db_version (version_id, is_applied) values (999, 1)`)
	require.NoError(t, err)
	require.ErrorIs(t, s.Migrate(t.Context()), sqlite.ErrNewer)
}

func TestReadyFailsOnceClosed(t *testing.T) {
	s, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "gatehouse.db")})
	require.NoError(t, err)
	require.NoError(t, s.Migrate(t.Context()))
	require.NoError(t, s.Close())
	require.Error(t, s.LedgerReady(t.Context(), false))
	_, err = s.Record(t.Context(), allow(researcher))
	require.ErrorIs(t, err, groupcommit.ErrClosed)
}

// TestNoColumnHoldsASecret names every column of the tables that know of workspaces and their secrets. Who
// adds one has to come by here.
func TestNoColumnHoldsASecret(t *testing.T) {
	s := openDemo(t, sqlite.Options{})
	require.Equal(t, []string{"key", "workspace_id"}, columns(t, s, "workspace_secrets"))
	require.Equal(t, []string{
		"budget_limit", "delivery_mode", "id", "kind", "last_sample_error", "monthly_spend", "name", "parent_id",
		"role", "runtime", "status", "tier", "updated_at", "url", "workspace_access", "workspace_dir",
	}, columns(t, s, "workspaces"))
	require.Equal(t, 0, count(t, s, `
		select count(*) from sqlite_schema m join pragma_table_info(m.name) c
		where m.type = 'table'
		  and (c.name like '%value%' or c.name like '%secret%' or c.name like '%encrypted%' or c.name like '%token%'
		       or c.name like '%password%' or (c.type = 'BLOB' and c.name <> 'digest'))`))
	require.Equal(t, 0, count(t, s, `
		select count(*) from pragma_table_list where type = 'table' and schema = 'main' and not strict
		  and name not like 'sqlite_%' and name <> 'goose_db_version'`), "a column takes only what it is for")
}

func columns(t *testing.T, s *sqlite.Store, table string) []string {
	t.Helper()
	return texts(t, s, `select name from pragma_table_info($1) order by name`, table)
}
