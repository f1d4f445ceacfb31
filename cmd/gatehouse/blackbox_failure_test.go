package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/internal/testenv"
)

const requestTimeout = 2 * time.Second

func TestPostgresThatStopsIsAnErrorWithinTheDeadlineAndRecoversAlone(t *testing.T) {
	t.Parallel()
	server := testenv.OwnPostgres(t, testenv.Options{})
	database, err := server.CreateDatabase(t.Context(), testenv.RegistryCurrent)
	require.NoError(t, err)
	reg := cmdtest.NewRegistry(t, database)
	gate := cmdtest.Start(t, "--database-url", database).WaitReady()
	id := reg.Workspace("workspace", "online")
	require.True(t, *gate.Review("register", cmdtest.RegisterBody(id)).Allowed)

	require.NoError(t, server.Stop(testenv.Immediate))
	cmdtest.Within(t, requestTimeout, func(context.Context) {
		status, problem := gate.Post("/v1/admission/register", cmdtest.RegisterBody(id))
		require.Equal(t, http.StatusInternalServerError, status)
		require.Contains(t, problem, `"code":"facts_unavailable"`)
	})
	status, text := gate.Post("/registry/register", fmt.Sprintf(`{"id": %q, "url": "https://agent.example.com"}`, id))
	require.Equal(t, http.StatusInternalServerError, status)
	require.JSONEq(t, `{"error": "registration failed"}`, text)
	status, _ = gate.Get("/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	status, _ = gate.Get("/healthz")
	require.Equal(t, http.StatusOK, status, "a database that is away is no reason to restart the process")

	require.NoError(t, server.Start(t.Context()))
	reg.Pool.Reset() // the test's own connections did not survive it
	gate.WaitReady()
	require.True(t, *gate.Review("register", cmdtest.RegisterBody(id)).Allowed)
	require.Equal(t, 2, reg.Decisions(id))
}

func TestServeThatStartsBeforeItsDatabaseBecomesReady(t *testing.T) {
	t.Parallel()
	server := testenv.OwnPostgres(t, testenv.Options{})
	database, err := server.CreateDatabase(t.Context(), testenv.RegistryCurrent)
	require.NoError(t, err)
	require.NoError(t, server.Stop(testenv.Fast))

	gate := cmdtest.Start(t, "--database-url", database)
	status, problem := gate.Get("/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, problem, `"code":"not_ready"`)
	status, problem = gate.Post("/v1/admission/register", cmdtest.RegisterBody(uuid.New()))
	require.Equal(t, http.StatusInternalServerError, status)
	require.Contains(t, problem, `"code":"facts_unavailable"`)

	require.NoError(t, server.Start(t.Context()))
	gate.WaitReady()
	require.True(t, *gate.Review("register", cmdtest.RegisterBody(uuid.New())).Allowed)
}

func TestBaseSchemaIsNeverTakenForNotPlatform(t *testing.T) {
	t.Parallel()
	database := testenv.DatabaseURL(t, testenv.RegistryBase)
	gate := cmdtest.Start(t, "--database-url", database)
	status, problem := gate.Post("/v1/admission/register", cmdtest.RegisterBody(uuid.New()))
	require.Equal(t, http.StatusInternalServerError, status)
	require.Contains(t, problem, `"code":"facts_unavailable"`)
	status, _ = gate.Get("/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, gate.Logged(), "42703")
	require.Eventually(t, func() bool { return gate.Metric(`gatehouse_decision_records_total{result="error_recorded"}`) == "1" }, cmdtest.Patience, cmdtest.Tick)
	_, records := gate.Get("/v1/decisions?failed=true")
	require.Contains(t, records, `"error":{"code":"facts_unavailable"`, "what was answered with an error is on record as one")
	require.NotContains(t, records, "42703", "and what lies behind it is in the log")
}

func TestRegisteringABadWorkspaceFiftyTimesIsFiftyDeniesAndOneMark(t *testing.T) {
	t.Parallel()
	database, broker := testenv.DatabaseURL(t, testenv.RegistryCurrent), testenv.RedisURL(t)
	reg, heard := cmdtest.NewRegistry(t, database), cmdtest.Subscribe(t, broker)
	gate := cmdtest.Start(t, append(cmdtest.Patient, "--database-url", database, "--redis-url", broker)...).WaitReady()
	id := reg.Workspace("platform", "provisioning")

	const callers = 50
	answers := make([]cmdtest.WireAnswer, callers)
	var group sync.WaitGroup
	for i := range callers {
		group.Go(func() {
			status, text := gate.Post("/v1/admission/register", cmdtest.RegisterBody(id))
			if status == http.StatusOK {
				_ = json.Unmarshal([]byte(text), &answers[i])
			}
		})
	}
	group.Wait()

	marks := 0
	for _, answer := range answers {
		require.NotNil(t, answer.Allowed)
		require.False(t, *answer.Allowed)
		if answer.MarkedFailed {
			marks++
		}
	}
	require.Equal(t, 1, marks)
	require.Equal(t, 1, reg.StructureEvents(id))
	require.Equal(t, 1, reg.LedgerEvents(id))
	require.Equal(t, callers, reg.Decisions(id))
	heard.Next(t, id)
	heard.NoMore(t, id)
	require.Equal(t, fmt.Sprint(callers), gate.Metric(cmdtest.Denials("register")))
}

// The provisioner may commit the secret at any moment of a register. Whatever the moment: no allow before the
// secret was there, and no mark after it was.
func TestSecretThatIsSeededWhileRegisteringWins(t *testing.T) {
	t.Parallel()
	database := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	reg := cmdtest.NewRegistry(t, database)
	gate := cmdtest.Start(t, append(cmdtest.Patient, "--database-url", database)...).WaitReady()
	id := reg.Workspace("platform", "provisioning")
	// The database's own clock and transactions say what came first: a trigger notes whether the row was
	// already failed when the secret was inserted, and whether the secret was there when the row was marked.
	reg.Exec(`create table observed (id int generated always as identity, marked_with_secret bool)`)
	reg.Exec(`create function note_mark() returns trigger language plpgsql as $$
		begin
			insert into observed (marked_with_secret)
				select exists (select from workspace_secrets where workspace_id = new.id and key = 'MODEL');
			return new;
		end $$`)
	reg.Exec(`create trigger note_mark after update on workspaces for each row
		when (new.status = 'failed' and old.status is distinct from 'failed') execute function note_mark()`)

	const rounds = 200
	allows, marks := 0, 0
	for range rounds {
		reg.Unseed(id)
		reg.SetStatus(id, "provisioning")
		answers := make(chan cmdtest.WireAnswer, 1)
		go func() {
			_, text := gate.Post("/v1/admission/register", cmdtest.RegisterBody(id))
			var answer cmdtest.WireAnswer
			_ = json.Unmarshal([]byte(text), &answer)
			answers <- answer
		}()
		reg.Seed(id, "MODEL")
		answer := <-answers
		require.NotNil(t, answer.Allowed)
		status, _ := reg.Status(id)
		if *answer.Allowed {
			allows++
			require.Equal(t, "provisioning", status, "an allow marks nothing")
		} else {
			marks++
			require.True(t, answer.MarkedFailed)
			require.Equal(t, "failed", status)
		}
	}
	require.Zero(t, reg.Count(`select count(*) from observed where marked_with_secret`),
		"a row was marked although its secret was committed")
	// An allow's record shows the facts that were evaluated, and so that the secret was among them.
	require.Zero(t, reg.Count(`select count(*) from gatehouse.decisions
		where allowed and not (input::jsonb -> 'facts' -> 'secret_keys' ? 'MODEL')`))
	require.Equal(t, marks, reg.Count(`select count(*) from observed`))
	t.Logf("%d allows, %d marks", allows, marks)
}

func TestAnsweredDecisionsSurviveKill9(t *testing.T) {
	t.Parallel()
	server := testenv.OwnPostgres(t, testenv.Options{Durable: true})
	database, err := server.CreateDatabase(t.Context(), testenv.RegistryCurrent)
	require.NoError(t, err)
	reg := cmdtest.NewRegistry(t, database)
	bad := reg.Workspace("platform", "provisioning")

	var answered []string
	for round := range 5 {
		gate := cmdtest.Start(t, "--database-url", database).WaitReady()
		answered = append(answered, registerUntilKilled(t, gate, reg, bad, 20+17*round)...)
	}
	require.NotEmpty(t, answered)
	for _, id := range answered {
		require.Equal(t, 1, reg.Count(`select count(*) from gatehouse.decisions where id = $1`, id), "decision %s was answered and is lost", id)
	}
	require.Equal(t, reg.StructureEvents(bad), reg.LedgerEvents(bad), "half a mark")
	require.Equal(t, reg.LedgerEvents(bad), reg.Count(`select count(*) from gatehouse.decisions where marked_failed`), "half a mark")
}

// registerUntilKilled registers from several callers, resets the bad workspace so that it is marked again and
// again, and kills the program after a number of answers. It gives the ids that were answered.
func registerUntilKilled(t *testing.T, gate *cmdtest.Program, reg *cmdtest.Registry, bad uuid.UUID, enough int) []string {
	t.Helper()
	answers := make(chan string, 4*enough)
	stop := make(chan struct{})
	var group sync.WaitGroup
	for caller := range 4 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				id := bad
				if caller > 0 {
					id = uuid.New()
				}
				status, text := gate.Post("/v1/admission/register", cmdtest.RegisterBody(id))
				var answer cmdtest.WireAnswer
				if status == http.StatusOK && json.Unmarshal([]byte(text), &answer) == nil {
					answers <- answer.DecisionID
				}
			}
		})
	}
	var ids []string
	for len(ids) < enough {
		ids = append(ids, <-answers)
		if len(ids)%10 == 0 {
			reg.SetStatus(bad, "provisioning")
		}
	}
	require.NoError(t, gate.Command.Process.Signal(syscall.SIGKILL))
	close(stop)
	go func() { group.Wait(); close(answers) }()
	for id := range answers {
		ids = append(ids, id)
	}
	gate.Kill()
	return ids
}

func TestStopFinishesAndRecordsRequestsUnderWay(t *testing.T) {
	t.Parallel()
	database := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	reg := cmdtest.NewRegistry(t, database)
	gate := cmdtest.Start(t, "--database-url", database, "--request-timeout", "20s").WaitReady()
	id := reg.Workspace("platform", "provisioning")

	// The registry holds the row, so the deny waits for it, and with it the stop.
	tx, err := reg.Pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `select from workspaces where id = $1 for update`, id)
	require.NoError(t, err)
	answers := make(chan string, 1)
	go func() {
		_, text := gate.Post("/v1/admission/register", cmdtest.RegisterBody(id))
		answers <- text
	}()
	require.Eventually(t, func() bool {
		return reg.Count(`select count(*) from pg_stat_activity where wait_event_type = 'Lock' and application_name = 'gatehouse'`) == 1
	}, cmdtest.Patience, 10*time.Millisecond)
	require.NoError(t, gate.Command.Process.Signal(syscall.SIGTERM))
	require.Eventually(t, func() bool {
		_, text := gate.Get("/readyz")
		return text != "" && !containsReady(text)
	}, cmdtest.Patience, 10*time.Millisecond)
	require.NoError(t, tx.Rollback(t.Context()))

	answer := cmdtest.ParseAnswer(t, <-answers)
	require.True(t, answer.MarkedFailed)
	require.NoError(t, gate.Wait(), gate.Logged())
	require.Equal(t, 1, reg.Decisions(id))
	require.Equal(t, 1, reg.StructureEvents(id))
}

func containsReady(text string) bool { return text == "{\"status\":\"ready\"}\n" }

// Redis keeps nothing for who is not there, so the test listens before the way to it is open again.
func TestRedisHearsOfADenyOnceItIsBack(t *testing.T) {
	t.Parallel()
	database, broker := testenv.DatabaseURL(t, testenv.RegistryCurrent), testenv.RedisURL(t)
	reg := cmdtest.NewRegistry(t, database)
	way, through := newGateway(t, broker)
	gate := cmdtest.Start(t, "--database-url", database, "--redis-url", through).WaitReady()
	id := reg.Workspace("platform", "provisioning")
	way.shut()

	require.True(t, gate.Review("register", cmdtest.RegisterBody(id)).MarkedFailed)
	require.Equal(t, "1", gate.Metric(`gatehouse_outbox_pending{sink="registry"}`))
	require.Eventually(t, func() bool {
		return gate.Metric(`gatehouse_announcements_total{result="retried",sink="registry"}`) != "0"
	}, cmdtest.Patience, cmdtest.Tick)
	heard := cmdtest.Subscribe(t, broker)
	way.open(t)
	heard.Next(t, id)
	require.Eventually(t, func() bool { return gate.Metric(`gatehouse_outbox_pending{sink="registry"}`) == "0" }, cmdtest.Patience, 20*time.Millisecond)
	require.Equal(t, "1", gate.Metric(`gatehouse_announcements_total{result="delivered",sink="registry"}`))
}
