package operate_test

import (
	"encoding/csv"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/decisionlog"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/programtest"
	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/server/failurelog"
)

// exported are the ids that an export has, and what it says beside them.
func exported(t *testing.T, database string, args ...string) (ids []string, says string) {
	t.Helper()
	got := programtest.Command(t, "", append([]string{"decisions", "export", "--format", "csv", "--database-url", database}, args...)...)
	require.Zero(t, got.Code, got.Err)
	records, err := csv.NewReader(strings.NewReader(got.Out)).ReadAll()
	require.NoError(t, err)
	for _, record := range records[1:] {
		ids = append(ids, record[0])
	}
	return ids, got.Err
}

// nextSince is where an export says that the next one begins.
func nextSince(t *testing.T, says string) string {
	t.Helper()
	since := regexp.MustCompile(`--since (\S+)\n`).FindStringSubmatch(says)
	require.NotNil(t, since, says)
	return since[1]
}

// A decision has the time at which its review began, and is recorded after that. Exports that begin where the one
// before ended have each of them once, however late it was recorded.
func TestNextExportHasWhatIsRecordedLate(t *testing.T) {
	t.Parallel()
	for kind, database := range map[string]string{
		"sqlite":   "sqlite:" + filepath.Join(t.TempDir(), "gatehouse.db"),
		"postgres": testenv.DatabaseURL(t, testenv.RegistryCurrent),
	} {
		t.Run(kind, func(t *testing.T) {
			store := cmdtest.StoreAt(t, database)
			require.NoError(t, store.Migrate(t.Context()))
			old, recent := cmdtest.RecordIn(t, store, 2*time.Hour), cmdtest.RecordIn(t, store, time.Second)

			first, says := exported(t, database)
			require.Equal(t, []string{old}, first)
			require.NotContains(t, says, "warning")
			answered := cmdtest.RecordIn(t, store, 2*time.Second)
			waited := cmdtest.RecordIn(t, store, failurelog.MaxAge) // an error, for a store that was away

			second, _ := exported(t, database, "--since", nextSince(t, says), "--until", "0s")
			require.Equal(t, []string{waited, answered, recent}, second)
		})
	}
}

func TestExportSaysWhereTheNextBegins(t *testing.T) {
	t.Parallel()
	database := "sqlite:" + filepath.Join(t.TempDir(), "gatehouse.db")
	store := cmdtest.StoreAt(t, database)
	require.NoError(t, store.Migrate(t.Context()))
	old, recent := cmdtest.RecordIn(t, store, 2*time.Hour), cmdtest.RecordIn(t, store, time.Minute)
	began := time.Now()
	ago := func(says string) time.Duration {
		at, err := time.Parse(time.RFC3339, nextSince(t, says))
		require.NoError(t, err)
		return began.Sub(at).Round(time.Minute)
	}

	name := filepath.Join(t.TempDir(), "decisions.csv")
	got := programtest.Command(t, "", "decisions", "export", "--output-file", name, "--database-url", database)
	require.Zero(t, got.Code, got.Err)
	require.Contains(t, got.Err, "1 decisions exported, up to ")
	require.Equal(t, decisionlog.SettledAfter, ago(got.Err), "also when they are written to a file")

	ids, says := exported(t, database, "--until", "90m")
	require.Equal(t, []string{old}, ids)
	require.NotContains(t, says, "warning")
	require.Equal(t, 90*time.Minute, ago(says))

	for _, until := range []string{"0s", "3m", began.Add(time.Hour).Format(time.RFC3339)} {
		ids, says = exported(t, database, "--until", until)
		require.Contains(t, says, "warning: ", until)
		require.Equal(t, until != "3m", len(ids) == 2, until)
		require.Equal(t, decisionlog.SettledAfter, ago(says), "the next one has some of them again, and all that are late")
	}

	ids, says = exported(t, database, "--since", "2m")
	require.Empty(t, ids)
	require.Equal(t, 2*time.Minute, ago(says), "it never goes back")
	ids, _ = exported(t, database, "--since", nextSince(t, says), "--until", "0s")
	require.Equal(t, []string{recent}, ids)
}
