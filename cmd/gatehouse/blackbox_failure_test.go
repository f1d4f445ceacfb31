package main

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

	"github.com/molecule-ai/gatehouse/internal/testenv"
)

const requestTimeout = 2 * time.Second

func TestPostgresThatStopsIsAnErrorWithinTheDeadlineAndRecoversAlone(t *testing.T) {
	server := testenv.OwnPostgres(t, testenv.Options{})
	database, err := server.CreateDatabase(t.Context(), testenv.RegistryCurrent)
	require.NoError(t, err)
	reg := newRegistry(t, database)
	gate := start(t, "--database-url", database).waitReady()
	id := reg.workspace("workspace", "online")
	require.True(t, *gate.review("register", registerBody(id)).Allowed)

	require.NoError(t, server.Stop(testenv.Immediate))
	within(t, requestTimeout, func(context.Context) {
		status, problem := gate.post("/v1/admission/register", registerBody(id))
		require.Equal(t, http.StatusInternalServerError, status)
		require.Contains(t, problem, `"code":"facts_unavailable"`)
	})
	status, text := gate.post("/registry/register", fmt.Sprintf(`{"id": %q, "url": "https://agent.example.com"}`, id))
	require.Equal(t, http.StatusInternalServerError, status)
	require.JSONEq(t, `{"error": "registration failed"}`, text)
	status, _ = gate.get("/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	status, _ = gate.get("/healthz")
	require.Equal(t, http.StatusOK, status, "a database that is away is no reason to restart the process")

	require.NoError(t, server.Start(t.Context()))
	reg.pool.Reset() // the test's own connections did not survive it
	gate.waitReady()
	require.True(t, *gate.review("register", registerBody(id)).Allowed)
	require.Equal(t, 2, reg.decisions(id))
}

func TestAServerThatStartsBeforeItsDatabaseBecomesReady(t *testing.T) {
	server := testenv.OwnPostgres(t, testenv.Options{})
	database, err := server.CreateDatabase(t.Context(), testenv.RegistryCurrent)
	require.NoError(t, err)
	require.NoError(t, server.Stop(testenv.Fast))

	gate := start(t, "--database-url", database)
	status, problem := gate.get("/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, problem, `"code":"not_ready"`)
	status, problem = gate.post("/v1/admission/register", registerBody(uuid.New()))
	require.Equal(t, http.StatusInternalServerError, status)
	require.Contains(t, problem, `"code":"facts_unavailable"`)

	require.NoError(t, server.Start(t.Context()))
	gate.waitReady()
	require.True(t, *gate.review("register", registerBody(uuid.New())).Allowed)
}

func TestTheBaseSchemaIsNeverTakenForNotPlatform(t *testing.T) {
	database := testenv.DatabaseURL(t, testenv.RegistryBase)
	gate := start(t, "--database-url", database)
	status, problem := gate.post("/v1/admission/register", registerBody(uuid.New()))
	require.Equal(t, http.StatusInternalServerError, status)
	require.Contains(t, problem, `"code":"facts_unavailable"`)
	status, _ = gate.get("/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, gate.logged(), "42703")
	require.Eventually(t, func() bool { return gate.metric(`gatehouse_decision_records_total{result="error_recorded"}`) == "1" }, patience, tick)
	_, records := gate.get("/v1/decisions?failed=true")
	require.Contains(t, records, `"error":{"code":"facts_unavailable"`, "what was answered with an error is on record as one")
	require.NotContains(t, records, "42703", "and what lies behind it is in the log")
}

func TestFiftyRegistersOfOneBadWorkspaceAreFiftyDeniesAndOneMark(t *testing.T) {
	database, broker := testenv.DatabaseURL(t, testenv.RegistryCurrent), testenv.RedisURL(t)
	reg, heard := newRegistry(t, database), subscribe(t, broker)
	gate := start(t, append(patient, "--database-url", database, "--redis-url", broker)...).waitReady()
	id := reg.workspace("platform", "provisioning")

	const callers = 50
	answers := make([]wireAnswer, callers)
	var group sync.WaitGroup
	for i := range callers {
		group.Go(func() {
			status, text := gate.post("/v1/admission/register", registerBody(id))
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
	require.Equal(t, 1, reg.structureEvents(id))
	require.Equal(t, 1, reg.ledgerEvents(id))
	require.Equal(t, callers, reg.decisions(id))
	require.Contains(t, heard.next(t), id.String())
	require.Empty(t, heard.messages)
	require.Equal(t, fmt.Sprint(callers), gate.metric(denials("register")))
}

// The provisioner may commit the secret at any moment of a register. Whatever the moment: no allow before the
// secret was there, and no mark after it was.
func TestASecretThatIsSeededWhileRegisteringWins(t *testing.T) {
	database := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	reg := newRegistry(t, database)
	gate := start(t, append(patient, "--database-url", database)...).waitReady()
	id := reg.workspace("platform", "provisioning")
	// The database's own clock and transactions say what came first: a trigger notes whether the row was
	// already failed when the secret was inserted, and whether the secret was there when the row was marked.
	reg.exec(`create table observed (id int generated always as identity, marked_with_secret bool)`)
	reg.exec(`create function note_mark() returns trigger language plpgsql as $$
		begin
			insert into observed (marked_with_secret)
				select exists (select from workspace_secrets where workspace_id = new.id and key = 'MODEL');
			return new;
		end $$`)
	reg.exec(`create trigger note_mark after update on workspaces for each row
		when (new.status = 'failed' and old.status is distinct from 'failed') execute function note_mark()`)

	const rounds = 200
	allows, marks := 0, 0
	for range rounds {
		reg.unseed(id)
		reg.setStatus(id, "provisioning")
		answers := make(chan wireAnswer, 1)
		go func() {
			_, text := gate.post("/v1/admission/register", registerBody(id))
			var answer wireAnswer
			_ = json.Unmarshal([]byte(text), &answer)
			answers <- answer
		}()
		reg.seed(id, "MODEL")
		answer := <-answers
		require.NotNil(t, answer.Allowed)
		status, _ := reg.status(id)
		if *answer.Allowed {
			allows++
			require.Equal(t, "provisioning", status, "an allow marks nothing")
		} else {
			marks++
			require.True(t, answer.MarkedFailed)
			require.Equal(t, "failed", status)
		}
	}
	require.Zero(t, reg.count(`select count(*) from observed where marked_with_secret`),
		"a row was marked although its secret was committed")
	// An allow's record shows the facts that were evaluated, and so that the secret was among them.
	require.Zero(t, reg.count(`select count(*) from gatehouse.decisions
		where allowed and not (input::jsonb -> 'facts' -> 'secret_keys' ? 'MODEL')`))
	require.Equal(t, marks, reg.count(`select count(*) from observed`))
	t.Logf("%d allows, %d marks", allows, marks)
}

func TestWhatWasAnsweredSurvivesKill9(t *testing.T) {
	server := testenv.OwnPostgres(t, testenv.Options{Durable: true})
	database, err := server.CreateDatabase(t.Context(), testenv.RegistryCurrent)
	require.NoError(t, err)
	reg := newRegistry(t, database)
	bad := reg.workspace("platform", "provisioning")

	var answered []string
	for round := range 5 {
		gate := start(t, "--database-url", database).waitReady()
		answered = append(answered, registerUntilKilled(t, gate, reg, bad, 20+17*round)...)
	}
	require.NotEmpty(t, answered)
	for _, id := range answered {
		require.Equal(t, 1, reg.count(`select count(*) from gatehouse.decisions where id = $1`, id), "decision %s was answered and is lost", id)
	}
	require.Equal(t, reg.structureEvents(bad), reg.ledgerEvents(bad), "half a mark")
	require.Equal(t, reg.ledgerEvents(bad), reg.count(`select count(*) from gatehouse.decisions where marked_failed`), "half a mark")
}

// registerUntilKilled registers from several callers, resets the bad workspace so that it is marked again and
// again, and kills the program after a number of answers. It gives the ids that were answered.
func registerUntilKilled(t *testing.T, gate *program, reg *registry, bad uuid.UUID, enough int) []string {
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
				status, text := gate.post("/v1/admission/register", registerBody(id))
				var answer wireAnswer
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
			reg.setStatus(bad, "provisioning")
		}
	}
	require.NoError(t, gate.command.Process.Signal(syscall.SIGKILL))
	close(stop)
	go func() { group.Wait(); close(answers) }()
	for id := range answers {
		ids = append(ids, id)
	}
	gate.kill()
	return ids
}

func TestAStopFinishesAndRecordsWhatIsUnderWay(t *testing.T) {
	database := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	reg := newRegistry(t, database)
	gate := start(t, "--database-url", database, "--request-timeout", "20s").waitReady()
	id := reg.workspace("platform", "provisioning")

	// The registry holds the row, so the deny waits for it, and with it the stop.
	tx, err := reg.pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `select from workspaces where id = $1 for update`, id)
	require.NoError(t, err)
	answers := make(chan string, 1)
	go func() {
		_, text := gate.post("/v1/admission/register", registerBody(id))
		answers <- text
	}()
	require.Eventually(t, func() bool {
		return reg.count(`select count(*) from pg_stat_activity where wait_event_type = 'Lock' and application_name = 'gatehouse'`) == 1
	}, patience, 10*time.Millisecond)
	require.NoError(t, gate.command.Process.Signal(syscall.SIGTERM))
	require.Eventually(t, func() bool {
		_, text := gate.get("/readyz")
		return text != "" && !containsReady(text)
	}, patience, 10*time.Millisecond)
	require.NoError(t, tx.Rollback(t.Context()))

	answer := parseAnswer(t, <-answers)
	require.True(t, answer.MarkedFailed)
	require.NoError(t, gate.wait(), gate.logged())
	require.Equal(t, 1, reg.decisions(id))
	require.Equal(t, 1, reg.structureEvents(id))
}

func containsReady(text string) bool { return text == "{\"status\":\"ready\"}\n" }

// Redis keeps nothing for who is not there, so the test listens before the way to it is open again.
func TestADenyWhileRedisIsAwayIsToldWhenItIsBack(t *testing.T) {
	database, broker := testenv.DatabaseURL(t, testenv.RegistryCurrent), testenv.RedisURL(t)
	reg := newRegistry(t, database)
	way, through := newGateway(t, broker)
	gate := start(t, "--database-url", database, "--redis-url", through).waitReady()
	id := reg.workspace("platform", "provisioning")
	way.shut()

	require.True(t, gate.review("register", registerBody(id)).MarkedFailed)
	require.Equal(t, "1", gate.metric(`gatehouse_outbox_pending{sink="registry"}`))
	require.Eventually(t, func() bool {
		return gate.metric(`gatehouse_announcements_total{result="retried",sink="registry"}`) != "0"
	}, patience, tick)
	heard := subscribe(t, broker)
	way.open(t)
	require.Contains(t, heard.next(t), id.String())
	require.Eventually(t, func() bool { return gate.metric(`gatehouse_outbox_pending{sink="registry"}`) == "0" }, patience, 20*time.Millisecond)
	require.Equal(t, "1", gate.metric(`gatehouse_announcements_total{result="delivered",sink="registry"}`))
}
