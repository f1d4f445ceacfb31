package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/sqlite"
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
	}, patience, tick, "%s", &got)
}

func TestReadOnlyPostgresIsNotReadyAndEveryReviewSaysWhy(t *testing.T) {
	database := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	reg := newRegistry(t, database)
	gate := start(t, "--database-url", database).waitReady()
	for _, component := range []string{"facts", "ledger", "outbox", "policies"} {
		require.Equal(t, "1", gate.metric(fmt.Sprintf(`gatehouse_ready{component=%q}`, component)))
	}
	id := reg.workspace("workspace", "online")
	platform := reg.workspace("platform", "provisioning")
	require.True(t, *gate.review("register", registerBody(id)).Allowed)

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
	reg.exec(`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'gatehouse' and datname = current_database()`)

	const reason = "the database is read-only"
	for _, workspace := range []uuid.UUID{id, platform} { // an allow and a deny with effects
		require.Eventually(t, func() bool { // once the connections of before are gone
			status, text := gate.post("/v1/admission/register", registerBody(workspace))
			return status == http.StatusServiceUnavailable && problemIs(t, status, text, 503, "ledger_unavailable") == reason
		}, patience, tick)
	}
	eventuallyNotReady(t, gate.get, "ledger ("+reason+")")
	require.Equal(t, "0", gate.metric(`gatehouse_ready{component="ledger"}`))
	require.Equal(t, "1", gate.metric(`gatehouse_ready{component="facts"}`))
	status, text := gate.post("/registry/register", fmt.Sprintf(`{"id": %q, "url": "https://agent.example.com"}`, id))
	require.Equal(t, http.StatusInternalServerError, status)
	require.JSONEq(t, `{"error": "registration failed"}`, text)

	readOnly("off")
	gate.waitReady()
	require.True(t, *gate.review("register", registerBody(id)).Allowed)
	require.Equal(t, "1", gate.metric(`gatehouse_ready{component="ledger"}`))
	require.Contains(t, gate.logged(), `"msg":"not ready","component":"ledger","reason":"the database is read-only"`)
	require.Contains(t, gate.logged(), `"msg":"ready again","component":"ledger"`)
}

func TestOutboxThatCannotBeWrittenIsNotReady(t *testing.T) {
	database := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	reg := newRegistry(t, database)
	gate := start(t, "--database-url", database, "--redis-url", testenv.RedisURL(t)).waitReady()

	reg.exec(`alter table gatehouse.river_job rename to river_job_away`)
	eventuallyNotReady(t, gate.get, "outbox (announcements cannot be written)")
	require.Equal(t, "0", gate.metric(`gatehouse_ready{component="outbox"}`))
	status, text := gate.post("/v1/admission/register", registerBody(reg.workspace("platform", "provisioning")))
	problemIs(t, status, text, http.StatusServiceUnavailable, "ledger_unavailable")

	reg.exec(`alter table gatehouse.river_job_away rename to river_job`)
	gate.waitReady()
}

func TestLockedSQLiteFileIsNotReadyAndEveryReviewSaysWhy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	s := serveHere(t, "--demo", "--database-url", "sqlite:"+path)
	s.waitReady()
	other, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
	require.NoError(t, err)
	defer func() { require.NoError(t, other.Close()) }()
	tx, err := other.Writer().BeginTx(t.Context(), nil)
	require.NoError(t, err)

	const reason = "another process has the SQLite file locked"
	for n := 1; n <= 2; n++ { // an allow and a deny
		status, text := s.send(http.MethodPost, "/v1/admission/register", demoReview(n), "")
		require.Equal(t, reason, problemIs(t, status, text, http.StatusServiceUnavailable, "ledger_unavailable"))
	}
	eventuallyNotReady(t, s.get, "ledger ("+reason+")")

	require.NoError(t, tx.Rollback())
	s.waitReady()
	status, text := s.send(http.MethodPost, "/v1/admission/register", demoReview(1), "")
	require.Equal(t, http.StatusOK, status, text)
}

func demoReview(n int) string {
	return fmt.Sprintf(`{"workspace": {"id": "00000000-0000-4000-8000-%012d", "url": "https://agent.example.com"}}`, n)
}

func (s *served) get(path string) (int, string) { return s.send(http.MethodGet, path, "", "") }

// lookUp has the store open all of the connections over which it looks facts up.
func (s *served) lookUp() {
	s.t.Helper()
	for range 2 * max(4, runtime.GOMAXPROCS(0)) {
		status, text := s.send(http.MethodPost, "/v1/admission/register", demoReview(1), "")
		require.Equal(s.t, http.StatusOK, status, text)
	}
}

func TestSQLiteFileThatIsGoneIsNotReadyUntilItIsBack(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "data")
	s := serveHere(t, "--demo", "--database-url", "sqlite:"+filepath.Join(folder, "gatehouse.db"))
	s.waitReady()
	s.lookUp()
	require.NoError(t, os.Rename(folder, folder+"-away"))

	status, text := s.send(http.MethodPost, "/v1/admission/register", demoReview(1), "")
	require.Equal(t, "the SQLite file is no longer where it was opened",
		problemIs(t, status, text, http.StatusServiceUnavailable, "ledger_unavailable"))
	eventuallyNotReady(t, s.get, "ledger (the SQLite file is no longer where it was opened)")

	require.NoError(t, os.Rename(folder+"-away", folder))
	s.waitReady()
	status, text = s.send(http.MethodPost, "/v1/admission/register", demoReview(1), "")
	require.Equal(t, http.StatusOK, status, text)
}

// A line for each of the reviews that fail while a store is away would be a log that nobody can read.
func TestThousandReviewsThatFailAreAFewLinesWithTheirCount(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "data")
	s := serveHere(t, "--demo", "--database-url", "sqlite:"+filepath.Join(folder, "gatehouse.db"))
	s.waitReady()
	s.lookUp()
	require.NoError(t, os.Rename(folder, folder+"-away"))

	const reviews = 1000
	for range reviews {
		response, err := http.Post(s.url+"/v1/admission/register", "application/json", strings.NewReader(demoReview(1)))
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	}
	http.DefaultClient.CloseIdleConnections()
	s.stop()

	lines, stoodFor := 0, 0
	scanner := bufio.NewScanner(s.log)
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
