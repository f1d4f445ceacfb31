package postgres_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/postgres"
	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/server/admission"
)

const patience = 10 * time.Second

// The server of this test has synchronous_commit off, so that what survives is the store's doing.
func TestServerCrashLosesNoAnswer(t *testing.T) {
	server := testenv.OwnPostgres(t, testenv.Options{})
	url, err := server.CreateDatabase(t.Context(), testenv.RegistryCurrent)
	require.NoError(t, err)
	h := newHarness(t, url)
	id := h.platformRow(t)
	answered := recordFor(t, h, id, 200)

	require.NoError(t, server.Stop(testenv.Immediate))
	h.requireErrorsWithin(t, id, 500*time.Millisecond)
	require.Error(t, h.store.LedgerReady(t.Context(), true))
	require.NoError(t, server.Start(t.Context()))

	require.Eventually(t, func() bool { return h.store.LedgerReady(t.Context(), true) == nil }, patience, 10*time.Millisecond)
	require.Eventually(t, func() bool { return h.registry.Ping(t.Context()) == nil }, patience, 10*time.Millisecond)
	require.Subset(t, h.Decisions(t, id), answered)
	marked, err := h.mark(t.Context(), t, deniedDecision(t, id))
	require.NoError(t, err)
	require.True(t, marked.MarkedFailed)
}

func recordFor(t *testing.T, h *harness, id uuid.UUID, n int) []uuid.UUID {
	t.Helper()
	ids := make([]uuid.UUID, n)
	var running sync.WaitGroup
	for i := range n {
		d := allowedDecision(t, id)
		ids[i] = d.ID
		running.Go(func() {
			_, err := h.store.Record(t.Context(), d)
			if err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	return ids
}

// requireErrorsWithin asks for everything a review asks for, while there is no database to answer it.
func (h *harness) requireErrorsWithin(t *testing.T, id uuid.UUID, limit time.Duration) {
	t.Helper()
	// Ending a statement may take the store a little longer than a deadline of a part of the request; the
	// rest is for a slow machine.
	const slack = 450 * time.Millisecond
	d := deniedDecision(t, id)
	for name, ask := range map[string]func(context.Context) error{
		"facts": func(ctx context.Context) error { _, err := h.store.Facts(ctx, id); return err },
		"recorded": func(ctx context.Context) error {
			_, err := h.store.Recorded(ctx, admission.RequestKey{UID: "uid"})
			return err
		},
		"record": func(ctx context.Context) error { _, err := h.store.Record(ctx, allowedDecision(t, id)); return err },
		"mark": func(ctx context.Context) error {
			_, err := h.store.RecordAndMark(ctx, d, admission.Facts{}, judgeAs(d))
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		start := time.Now()
		err := ask(ctx)
		cancel()
		require.Error(t, err, name)
		require.NotErrorIs(t, err, admission.ErrNotRecorded, name)
		require.Less(t, time.Since(start), limit+slack, name)
	}
}

func TestFrozenServerIsAnErrorWithinTheDeadline(t *testing.T) {
	database := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	proxy, url := newProxy(t, database)
	h := newHarness(t, database)
	h.store = open(t, url, func(o *postgres.Options) { o.Outbox, o.MaxConns = tableOutbox{}, 4 })
	id := h.platformRow(t)
	require.NoError(t, h.store.LedgerReady(t.Context(), true))

	proxy.freeze(true)
	for range 3 { // more than there are connections
		h.requireErrorsWithin(t, id, 300*time.Millisecond)
	}
	proxy.freeze(false)

	require.Eventually(t, func() bool { return h.store.LedgerReady(t.Context(), true) == nil }, patience, 10*time.Millisecond)
	require.Equal(t, "provisioning", h.Row(t, id).Status)
	marked, err := h.mark(t.Context(), t, deniedDecision(t, id))
	require.NoError(t, err)
	require.True(t, marked.MarkedFailed)
}

func TestKilledConnectionLeavesNothing(t *testing.T) {
	h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent))
	id := h.platformRow(t)
	d := deniedDecision(t, id)
	d.UID = "uid-1"

	_, err := h.store.RecordAndMark(t.Context(), d, admission.Facts{},
		func(context.Context, admission.Facts) (admission.Judged, error) {
			killed := collect(t, h, pgx.RowTo[bool], `
select pg_terminate_backend(pid, 5000) from pg_stat_activity
where application_name = 'gatehouse' and datname = current_database() and state = 'idle in transaction'`)
			require.Equal(t, []bool{true}, killed)
			return admission.Judged{Decision: d}, nil
		})

	require.Error(t, err)
	h.requireUntouched(t, id)
	again, err := h.mark(t.Context(), t, d)
	require.NoError(t, err)
	require.True(t, again.MarkedFailed)
}

func TestRowLockWaitIsGivenUpWithItsCaller(t *testing.T) {
	h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent))
	id := h.platformRow(t)
	unlock := h.lockRow(t, id)
	d := deniedDecision(t, id)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()

	_, err := h.mark(ctx, t, d)

	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Eventually(t, func() bool { return h.waiting(t) == 0 }, patience, 10*time.Millisecond)
	unlock()
	h.requireUntouched(t, id)
}

func TestGivenUpStatementCostsNoConnection(t *testing.T) {
	h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent), factsQuery(`
select true as exists, '{"kind":"platform"}'::jsonb as workspace, '{}'::text[] as secret_keys,
       '{}'::text[] as global_secret_keys
from pg_sleep(case when $1::uuid = '00000000-0000-0000-0000-000000000000' then 0 else 60 end)`))
	_, err := h.store.Facts(t.Context(), uuid.Nil)
	require.NoError(t, err)

	// The server has 100 ms to react, which a busy machine may miss.
	require.Eventually(t, func() bool {
		before := h.store.Pool().Stat().NewConnsCount()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := h.store.Facts(ctx, uuid.New())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = h.store.Facts(t.Context(), uuid.Nil)
		require.NoError(t, err)
		return h.store.Pool().Stat().NewConnsCount() == before
	}, patience, time.Millisecond)
}

func TestManyRequestsOfOneLockedWorkspaceLeaveConnectionsForOthers(t *testing.T) {
	h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent),
		func(o *postgres.Options) { o.MaxConns, o.Timeout = 3, time.Minute })
	id := h.platformRow(t)
	seen, err := h.store.Facts(t.Context(), id)
	require.NoError(t, err)
	unlock := h.lockRow(t, id)
	answers := make(chan error, 50)
	for range cap(answers) {
		d := deniedDecision(t, id)
		go func() {
			_, err := h.store.RecordAndMark(t.Context(), d, seen, judgeAs(d))
			answers <- err
		}()
	}
	require.Eventually(t, func() bool { return h.waiting(t) == 1 }, patience, 10*time.Millisecond)

	for range 20 {
		_, err := h.store.Facts(t.Context(), uuid.New())
		require.NoError(t, err)
		_, err = h.store.Record(t.Context(), allowedDecision(t, uuid.New()))
		require.NoError(t, err)
	}
	require.Equal(t, 1, h.waiting(t))

	unlock()
	for range cap(answers) {
		require.NoError(t, <-answers)
	}
	require.Len(t, h.Decisions(t, id), 50)
	require.Len(t, h.OutgoingEvents(t, id), 1)
}

// lockRow holds the workspace's row as a slow transaction of the registry would.
func (h *harness) lockRow(t *testing.T, id uuid.UUID) (unlock func()) {
	t.Helper()
	tx, err := h.registry.Begin(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	_, err = tx.Exec(t.Context(), "select from workspaces where id = $1 for update", id)
	require.NoError(t, err)
	return func() { require.NoError(t, tx.Rollback(t.Context())) }
}

// waiting is the number of the store's server processes that wait for a lock.
func (h *harness) waiting(t *testing.T) int {
	return collect(t, h, pgx.RowTo[int], `
select count(*) from pg_stat_activity
where application_name = 'gatehouse' and datname = current_database() and wait_event_type = 'Lock'`)[0]
}

func TestMarkAdmitsNoSecretBetweenJudgementAndMark(t *testing.T) {
	h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent))
	id := h.platformRow(t)
	d := deniedDecision(t, id)
	status := make(chan string, 1)
	insert := func() {
		go func() {
			seen, err := h.insertSecret(t.Context(), id, "MODEL")
			if err != nil {
				t.Error(err)
			}
			status <- seen
		}()
		require.Eventually(t, func() bool { return h.secretsWaiting(t) == 1 }, patience, time.Millisecond,
			"the insert of a secret does not wait for the mark")
	}

	marked, err := h.store.RecordAndMark(t.Context(), d, admission.Facts{},
		func(context.Context, admission.Facts) (admission.Judged, error) {
			insert()
			return admission.Judged{Decision: d}, nil
		})

	require.NoError(t, err)
	require.True(t, marked.MarkedFailed)
	require.Equal(t, "failed", <-status, "the secret's own transaction sees the mark")
}

// secretsWaiting is the number of the registry's inserts of secrets that wait for a lock.
func (h *harness) secretsWaiting(t *testing.T) int {
	return collect(t, h, pgx.RowTo[int], `
select count(*) from pg_stat_activity
where query ilike '%insert into workspace_secrets%' and datname = current_database() and wait_event_type = 'Lock'`)[0]
}

func TestMarkWaitsForASecretThatIsBeingInserted(t *testing.T) {
	h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent))
	id := h.platformRow(t)
	seen, err := h.store.Facts(t.Context(), id)
	require.NoError(t, err)
	tx, err := h.registry.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(),
		`insert into workspace_secrets (workspace_id, key, encrypted_value) values ($1, 'MODEL', '')`, id)
	require.NoError(t, err)
	var judged admission.Facts
	denied, allowed := deniedDecision(t, id), allowedDecision(t, id)
	answers := make(chan admission.Decision, 1)
	go func() {
		answer, err := h.store.RecordAndMark(t.Context(), denied, seen,
			func(_ context.Context, facts admission.Facts) (admission.Judged, error) {
				judged = facts
				return admission.Judged{Decision: allowed}, nil
			})
		if err != nil {
			t.Error(err)
		}
		answers <- answer.Decision
	}()
	require.Eventually(t, func() bool { return h.waiting(t) == 1 }, patience, time.Millisecond)

	require.NoError(t, tx.Commit(t.Context()))

	answer := <-answers
	require.Equal(t, []string{"MODEL"}, judged.SecretKeys)
	require.True(t, answer.Verdict.Allowed())
	require.False(t, answer.MarkedFailed)
	require.Equal(t, "provisioning", h.Row(t, id).Status)
}

func TestMarksAndUIDsAreUniqueAcrossTwoReplicas(t *testing.T) {
	url := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	h := newHarness(t, url)
	replicas := []*postgres.Store{h.store, open(t, url, func(o *postgres.Options) { o.Outbox = tableOutbox{} })}
	id := h.platformRow(t)
	seen, err := h.store.Facts(t.Context(), id)
	require.NoError(t, err)

	var running sync.WaitGroup
	byUID := make([]uuid.UUID, 50)
	for i := range byUID {
		d := deniedDecision(t, id)
		d.UID = "uid-1"
		running.Go(func() {
			answer, err := replicas[i%2].RecordAndMark(t.Context(), d, seen, judgeAs(d))
			if err != nil {
				t.Error(err)
			}
			byUID[i] = answer.ID
		})
		running.Go(func() {
			other := deniedDecision(t, id)
			_, err := replicas[i%2].RecordAndMark(t.Context(), other, seen, judgeAs(other))
			if err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()

	for _, answer := range byUID {
		require.Equal(t, byUID[0], answer)
	}
	require.Len(t, h.Decisions(t, id), 51)
	require.Len(t, h.OutgoingEvents(t, id), 1)
	require.Len(t, h.Announced(t, id), 1)
}

func TestOutboxThatFailsLeavesNothing(t *testing.T) {
	h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent),
		func(o *postgres.Options) { o.Outbox = brokenOutbox{} })
	id := h.platformRow(t)

	_, err := h.mark(t.Context(), t, deniedDecision(t, id))

	require.ErrorIs(t, err, errOutbox)
	h.requireUntouched(t, id)
}

var errOutbox = errors.New("the outbox is full")

type brokenOutbox struct{}

func (brokenOutbox) Wake(context.Context, pgx.Tx) error { return nil }

func (brokenOutbox) Announce(context.Context, pgx.Tx, ...admission.Event) error { return errOutbox }

func TestEventIsInTheLedgerWithoutAnOutbox(t *testing.T) {
	h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent),
		func(o *postgres.Options) { o.Outbox = nil })
	id := h.platformRow(t)

	marked, err := h.mark(t.Context(), t, deniedDecision(t, id))

	require.NoError(t, err)
	require.True(t, marked.MarkedFailed)
	require.Len(t, h.OutgoingEvents(t, id), 1)
}

func TestDecisionThatPostgresCannotKeepFailsAlone(t *testing.T) {
	h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent))
	id := h.platformRow(t)
	d := deniedDecision(t, id)
	d.Verdict.Violations[0].Message = "a NUL \x00 in a message"
	bad := allowedDecision(t, id)
	bad.Hook = "a NUL \x00 in a hook"

	_, err := h.mark(t.Context(), t, d)
	require.Error(t, err)
	h.requireUntouched(t, id)

	var running sync.WaitGroup
	running.Go(func() {
		_, err := h.store.Record(t.Context(), bad)
		if err == nil {
			t.Error("a NUL was recorded")
		}
	})
	running.Go(func() { recordFor(t, h, id, 100) })
	running.Wait()
	require.Len(t, h.Decisions(t, id), 100)
}

func TestFactsThatCannotBeReadAgainAreNamedSo(t *testing.T) {
	// The query works until a table is there, which stands for any failure between the two looks.
	h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent), factsQuery(`
select 1/(1 - count(*)) = 1 as exists, '{"kind":"platform"}'::jsonb as workspace,
       '{}'::text[] as secret_keys, '{}'::text[] as global_secret_keys
from pg_class where relname = 'broken' and $1::uuid is not null`))
	id := h.platformRow(t)
	seen, err := h.store.Facts(t.Context(), id)
	require.NoError(t, err)
	h.exec(t, "create table broken ()")
	d := deniedDecision(t, id)

	_, err = h.store.RecordAndMark(t.Context(), d, seen, judgeAs(d))

	var coded *admission.Error
	require.ErrorAs(t, err, &coded)
	require.Equal(t, admission.CodeFactsUnavailable, coded.Code)
	h.requireUntouched(t, id)
}
