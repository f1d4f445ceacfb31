package serve_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/programtest"
	"github.com/molecule-ai/gatehouse/internal/testenv"
)

// problemIs checks an error answer and gives its detail.
func problemIs(t *testing.T, status int, text string, wantStatus int, wantCode string) string {
	t.Helper()
	var problem struct{ Code, Detail string }
	require.NoError(t, json.Unmarshal([]byte(text), &problem), text)
	require.Equal(t, wantStatus, status, text)
	require.Equal(t, wantCode, problem.Code)
	return problem.Detail
}

// eventuallyNotReady waits until /readyz gives a detail.
func eventuallyNotReady(t *testing.T, get func(path string) (int, string), detail string) {
	t.Helper()
	var got string
	require.Eventually(t, func() bool {
		var status int
		status, got = get("/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(got, fmt.Sprintf(`"detail":"not ready: %s"`, detail))
	}, cmdtest.Patience, cmdtest.Tick, "%s", &got)
}

func TestReadOnlyPostgresIsNotReadyAndEveryReviewSaysWhy(t *testing.T) {
	t.Parallel()
	database := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	reg := cmdtest.NewRegistry(t, database)
	gate := cmdtest.Start(t, "--database-url", database).WaitReady()
	for _, component := range []string{"facts", "ledger", "outbox", "policies"} {
		require.Equal(t, "1", gate.Metric(fmt.Sprintf(`gatehouse_ready{component=%q}`, component)))
	}
	id := reg.Workspace("workspace", "online")
	platform := reg.Workspace("platform", "provisioning")
	require.True(t, *gate.Review("register", cmdtest.RegisterBody(id)).Allowed)

	dropConnections := func() {
		reg.Exec(`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'gatehouse' and datname = current_database()`)
	}
	readOnly := func(to string) {
		conn, err := pgx.Connect(t.Context(), database)
		require.NoError(t, err)
		defer func() { require.NoError(t, conn.Close(t.Context())) }()
		_, err = conn.Exec(t.Context(), "set default_transaction_read_only = off")
		require.NoError(t, err)
		_, err = conn.Exec(t.Context(), fmt.Sprintf(
			"do $$ begin execute format('alter database %%I set default_transaction_read_only = %s', current_database()); end $$", to))
		require.NoError(t, err)
	}
	readOnly("on")
	dropConnections()

	const reason = "the database is read-only"
	for _, workspace := range []uuid.UUID{id, platform} { // an allow and a deny with effects
		require.Eventually(t, func() bool { // once the connections of before are gone
			status, text := gate.Post("/v1/admission/register", cmdtest.RegisterBody(workspace))
			return status == http.StatusServiceUnavailable && problemIs(t, status, text, 503, "ledger_unavailable") == reason
		}, cmdtest.Patience, cmdtest.Tick)
	}
	eventuallyNotReady(t, gate.Get, "ledger ("+reason+")")
	require.Equal(t, "0", gate.Metric(`gatehouse_ready{component="ledger"}`))
	require.Equal(t, "1", gate.Metric(`gatehouse_ready{component="facts"}`))
	status, text := gate.Post("/registry/register", fmt.Sprintf(`{"id": %q, "url": "https://agent.example.com"}`, id))
	require.Equal(t, http.StatusInternalServerError, status)
	require.JSONEq(t, `{"error": "registration failed"}`, text)

	readOnly("off")
	dropConnections() // a connection stays read-only for as long as it lives
	require.Eventually(t, func() bool {
		status, _ := gate.Post("/v1/admission/register", cmdtest.RegisterBody(id))
		return status == http.StatusOK
	}, cmdtest.Patience, cmdtest.Tick)
	gate.WaitReady()
	require.Equal(t, "1", gate.Metric(`gatehouse_ready{component="ledger"}`))
	require.Contains(t, gate.Logged(), `"msg":"not ready","component":"ledger","reason":"the database is read-only"`)
	require.Contains(t, gate.Logged(), `"msg":"ready again","component":"ledger"`)
}

func TestOutboxThatCannotBeWrittenIsNotReady(t *testing.T) {
	t.Parallel()
	database := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	reg := cmdtest.NewRegistry(t, database)
	gate := cmdtest.Start(t, "--database-url", database, "--redis-url", testenv.RedisURL(t)).WaitReady()

	reg.Exec(`alter table gatehouse.river_job rename to river_job_away`)
	eventuallyNotReady(t, gate.Get, "outbox (announcements cannot be written)")
	require.Equal(t, "0", gate.Metric(`gatehouse_ready{component="outbox"}`))
	status, text := gate.Post("/v1/admission/register", cmdtest.RegisterBody(reg.Workspace("platform", "provisioning")))
	problemIs(t, status, text, http.StatusServiceUnavailable, "ledger_unavailable")

	reg.Exec(`alter table gatehouse.river_job_away rename to river_job`)
	gate.WaitReady()
}

func TestLockedSQLiteFileIsNotReadyAndEveryReviewSaysWhy(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	s := programtest.Serve(t, "--demo", "--database-url", "sqlite:"+path)
	s.WaitReady()
	other, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
	require.NoError(t, err)
	defer func() { require.NoError(t, other.Close()) }()
	tx, err := other.Writer().BeginTx(t.Context(), nil)
	require.NoError(t, err)

	const reason = "another process has the SQLite file locked"
	for n := 1; n <= 2; n++ { // an allow and a deny
		status, text := s.Send(http.MethodPost, "/v1/admission/register", cmdtest.DemoReview(n), "")
		require.Equal(t, reason, problemIs(t, status, text, http.StatusServiceUnavailable, "ledger_unavailable"))
	}
	eventuallyNotReady(t, s.Get, "ledger ("+reason+")")

	require.NoError(t, tx.Rollback())
	s.WaitReady()
	status, text := s.Send(http.MethodPost, "/v1/admission/register", cmdtest.DemoReview(1), "")
	require.Equal(t, http.StatusOK, status, text)
}

func TestSQLiteFileThatIsGoneIsNotReadyUntilItIsBack(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "data")
	s := programtest.Serve(t, "--demo", "--database-url", "sqlite:"+filepath.Join(folder, "gatehouse.db"))
	s.WaitReady()
	s.LookUp()
	require.NoError(t, os.Rename(folder, folder+"-away"))

	status, text := s.Send(http.MethodPost, "/v1/admission/register", cmdtest.DemoReview(1), "")
	require.Equal(t, "the SQLite file is no longer where it was opened",
		problemIs(t, status, text, http.StatusServiceUnavailable, "ledger_unavailable"))
	eventuallyNotReady(t, s.Get, "ledger (the SQLite file is no longer where it was opened)")

	require.NoError(t, os.Rename(folder+"-away", folder))
	s.WaitReady()
	status, text = s.Send(http.MethodPost, "/v1/admission/register", cmdtest.DemoReview(1), "")
	require.Equal(t, http.StatusOK, status, text)
}

// A line for each of the reviews that fail while a store is away would be a log that nobody can read.
func TestLogOfAThousandFailuresIsAFewLinesWithTheirCount(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "data")
	s := programtest.Serve(t, "--demo", "--database-url", "sqlite:"+filepath.Join(folder, "gatehouse.db"))
	s.WaitReady()
	s.LookUp()
	require.NoError(t, os.Rename(folder, folder+"-away"))

	const reviews = 1000
	for range reviews {
		response, err := http.Post(s.URL+"/v1/admission/register", "application/json", strings.NewReader(cmdtest.DemoReview(1)))
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	}
	http.DefaultClient.CloseIdleConnections()
	s.Stop()

	lines, stoodFor := 0, 0
	scanner := bufio.NewScanner(s.Log)
	for scanner.Scan() {
		var line struct {
			Level, Msg, Code string
			Count            int
		}
		require.NoError(t, json.Unmarshal(scanner.Bytes(), &line))
		if line.Msg == "review" && line.Level == "WARN" {
			require.Equal(t, "ledger_unavailable", line.Code)
			lines++
			stoodFor += max(1, line.Count)
		}
	}
	require.Equal(t, reviews, stoodFor, "nothing is lost when the server stops")
	require.LessOrEqual(t, lines, reviews/20)
}
