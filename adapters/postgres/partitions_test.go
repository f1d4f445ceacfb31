package postgres_test

import (
	"context"
	"database/sql"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/postgres"
	"github.com/molecule-ai/gatehouse/adapters/postgres/postgrestest"
	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/audit"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// atVersion gives goose on a database that is at a version of the schema.
func atVersion(t *testing.T, url string, version int64) *goose.Provider {
	t.Helper()
	db, err := sql.Open("pgx", url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	_, err = db.ExecContext(t.Context(), "create schema if not exists gatehouse")
	require.NoError(t, err)
	provider, err := goose.NewProvider(goose.DialectPostgres, db, os.DirFS("migrations"),
		goose.WithTableName("gatehouse.goose_db_version"), goose.WithDisableGlobalRegistry(true))
	require.NoError(t, err)
	_, err = provider.UpTo(t.Context(), version)
	require.NoError(t, err)
	return provider
}

// version4SQL is how the version before decisions had partitions wrote them, with the values of one that it could
// have written.
const version4SQL = `
with given as (
    select *
    from unnest(
        array[$1]::uuid[], array[$2]::timestamptz[], array[$3]::text[], array['\x00']::bytea[]
    ) as given (id, decided_at, uid, digest)
),
claimed as (
    insert into gatehouse.request_uids (uid, digest, decision_id, decided_at)
    select uid, decode(repeat('ab', 32), 'hex'), id, decided_at from given where uid is not null
    on conflict (uid) do nothing
    returning decision_id
)
insert into gatehouse.decisions (
    id, decided_at, uid, hook, caller, caller_proof, workspace_id,
    kind, allowed, code, reason, policy_revision, marked_failed, violations,
    event_id, event, input, facts_us, policy_us, dry_run
)
select
    id, decided_at, uid, 'heartbeat', 'registry', 'install', '00000000-0000-4000-8000-00000000000a',
    'platform', false, 'C', 'r', 'revision-0', true,
    '[{"rule":"rule","code":"C","reason":"r","message":"m","severity":"high","enforcement":"deny","status":400,"mark_failed":true}]',
    '10000000-0000-4000-8000-000000000001',
    '{"event":"WORKSPACE_PROVISION_FAILED","workspace_id":"00000000-0000-4000-8000-00000000000a","timestamp":"2026-04-01T12:00:00.000005Z",
      "payload":{"error":"m","code":"C","reason":"r"}}',
    '{"hook":"heartbeat", "n": 1.50}', 11, 22, true
from given
where uid is null or id in (select decision_id from claimed)
on conflict (id) do nothing`

// version4Decision is the decision that version4SQL writes.
func version4Decision(id uuid.UUID, at time.Time, uid string) admission.Decision {
	workspace := uuid.MustParse("00000000-0000-4000-8000-00000000000a")
	return admission.Decision{
		ID: id, At: at, UID: uid, Hook: "heartbeat", Caller: "registry", CallerProof: admission.Install,
		WorkspaceID: workspace, Kind: "platform", DryRun: true, Unenforced: true, MarkedFailed: true,
		Input: []byte(`{"hook":"heartbeat", "n": 1.50}`),
		Verdict: admission.Verdict{Revision: "revision-0", Violations: []admission.Violation{{
			Rule: "rule", Code: "C", Reason: "r", Message: "m", Severity: admission.High, Enforcement: admission.Deny, Status: 400, MarkFailed: true,
		}}},
		Event: &admission.Event{
			ID: uuid.MustParse("10000000-0000-4000-8000-000000000001"), DecisionID: id, Hook: "heartbeat",
			Event: admission.ProvisionFailed, WorkspaceID: workspace, Timestamp: time.Date(2026, 4, 1, 12, 0, 0, 5000, time.UTC),
			Payload: admission.EventPayload{Error: "m", Code: "C", Reason: "r"},
		},
		Timings: admission.Timings{Facts: 11 * time.Microsecond, Policy: 22 * time.Microsecond},
	}
}

func TestDecisionsOfVersion4SurviveTheMigration(t *testing.T) {
	t.Parallel()
	url := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	atVersion(t, url, 4)
	before, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer func() { require.NoError(t, before.Close(context.WithoutCancel(t.Context()))) }()
	now := time.Now().UTC().Truncate(time.Microsecond)
	var want []admission.Decision
	write := func(at time.Time, uid string) {
		id, err := admission.NewDecisionID(at)
		require.NoError(t, err)
		_, err = before.Exec(t.Context(), version4SQL, id, at, uid)
		require.NoError(t, err)
		want = append(want, version4Decision(id, at, uid))
	}
	write(now.AddDate(-1, 0, 0), "uid-old")
	write(now, "uid-now")
	write(now.AddDate(0, 0, 3), "uid-of-a-clock-that-is-ahead")

	h := newHarness(t, url)

	for oldest, filter := range []ledger.Filter{{Code: "C"}, {WorkspaceID: want[0].WorkspaceID}, {Allowed: new(false)}, {}} {
		listed, err := h.store.Decisions(t.Context(), ledger.Query{Filter: filter, OldestFirst: true, Limit: 10})
		require.NoError(t, err)
		require.Len(t, listed, len(want), oldest)
	}
	for _, d := range want {
		read, err := h.store.Decision(t.Context(), d.ID)
		require.NoError(t, err)
		require.Equal(t, d, read.Decision)
		again, err := h.store.Recorded(t.Context(), d.RequestKey())
		require.NoError(t, err)
		require.EqualValues(t, 0xab, again.Digest[31])
		again.Digest = [32]byte{}
		require.Equal(t, d, again)
	}
	ledger, err := h.store.DecisionsAfter(t.Context(), 0, 10)
	require.NoError(t, err)
	require.Empty(t, ledger, "those of before the ledger have no place in it")
}

func TestPartitionsMigrationCanBeTakenBack(t *testing.T) {
	t.Parallel()
	url := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	schema := atVersion(t, url, 5)
	h := newHarness(t, url)
	kept, lost := allowedDecision(t, uuid.New()), allowedDecision(t, uuid.New())
	lost.Failed = &admission.Failure{Code: admission.CodePolicyError}
	for _, d := range []admission.Decision{kept, lost} {
		_, err := h.store.Record(t.Context(), d)
		require.NoError(t, err)
	}

	_, err := schema.DownTo(t.Context(), 4)
	require.NoError(t, err)
	require.Equal(t, []uuid.UUID{kept.ID}, collect(t, h, pgx.RowTo[uuid.UUID], "select id from gatehouse.decisions"))
	h.exec(t, version4SQL, uuid.Must(uuid.NewV7()), time.Now(), nil)
	_, err = schema.Up(t.Context())
	require.NoError(t, err)

	_, err = h.store.Decision(t.Context(), kept.ID)
	require.NoError(t, err)
}

// partitionedByDay makes a database whose decisions are all in partitions of days, from so many days ago.
func partitionedByDay(t *testing.T, days int) *harness {
	t.Helper()
	h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent))
	h.exec(t, "alter table gatehouse.decisions detach partition gatehouse.decisions_before")
	h.exec(t, "drop table gatehouse.decisions_before")
	for n := days; n >= 1; n-- {
		h.exec(t, "select gatehouse.create_decision_partition($1)", time.Now().AddDate(0, 0, -n))
	}
	return h
}

func (h *harness) partitions(t *testing.T) []string {
	t.Helper()
	return collect(t, h, pgx.RowTo[string], "select name from gatehouse.decision_partitions order by end_id")
}

func partitionOf(day time.Time) string { return "decisions_" + day.UTC().Format("20060102") }

func decisionOf(t *testing.T, day time.Time) admission.Decision {
	t.Helper()
	d := allowedDecision(t, uuid.New())
	id, err := admission.NewDecisionID(day)
	require.NoError(t, err)
	d.ID, d.At = id, day.UTC().Truncate(time.Microsecond)
	return d
}

func (h *harness) partitionWith(t *testing.T, id uuid.UUID) string {
	t.Helper()
	return collect(t, h, pgx.RowTo[string], "select tableoid::regclass::text from gatehouse.decisions where id = $1", id)[0]
}

func TestPartitionsAreMadeAheadAndDecisionsGoIntoTheirs(t *testing.T) {
	t.Parallel()
	h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent))
	now := time.Now()
	require.Equal(t, []string{"decisions_before", "decisions_default"}, h.partitions(t))
	early := decisionOf(t, now.AddDate(0, 0, 2))
	late := decisionOf(t, now.AddDate(0, 0, 20))
	for _, d := range []admission.Decision{early, late} {
		_, err := h.store.Record(t.Context(), d)
		require.NoError(t, err, "without a partition of its day")
		require.Equal(t, "gatehouse.decisions_default", h.partitionWith(t, d.ID))
	}

	for range 2 {
		_, err := h.store.PruneDecisions(t.Context(), now, time.Time{})
		require.NoError(t, err)
	}

	want := []string{"decisions_before"}
	for n := range 7 {
		want = append(want, partitionOf(now.AddDate(0, 0, n+1)))
	}
	require.Equal(t, append(want, "decisions_default"), h.partitions(t))
	require.Equal(t, "gatehouse."+partitionOf(early.At), h.partitionWith(t, early.ID))
	require.Equal(t, "gatehouse.decisions_default", h.partitionWith(t, late.ID))
	listed, err := h.store.Decisions(t.Context(), ledger.Query{OldestFirst: true, Limit: 10})
	require.NoError(t, err)
	require.Equal(t, []admission.Decision{early, late}, []admission.Decision{listed[0].Decision, listed[1].Decision})
}

func TestOldPartitionsAreDropped(t *testing.T) {
	t.Parallel()
	h := partitionedByDay(t, 5)
	now := time.Now()
	var recorded []admission.Decision
	for n := 6; n >= 0; n-- { // the first has no partition
		d := decisionOf(t, now.AddDate(0, 0, -n))
		d.UID = uuid.NewString()
		_, err := h.store.Record(t.Context(), d)
		require.NoError(t, err)
		recorded = append(recorded, d)
	}

	pruned, err := h.store.PruneDecisions(t.Context(), now, now.AddDate(0, 0, -3))

	require.NoError(t, err)
	require.Equal(t, ledger.Pruned{
		Decisions: 1, UIDs: 3, Partitions: []string{partitionOf(recorded[1].At), partitionOf(recorded[2].At)},
	}, pruned)
	for i, d := range recorded {
		_, err := h.store.Decision(t.Context(), d.ID)
		_, uidErr := h.store.Recorded(t.Context(), d.RequestKey())
		if i < 3 {
			require.ErrorIs(t, err, ledger.ErrNoDecision)
			require.ErrorIs(t, uidErr, admission.ErrNotRecorded)
		} else {
			require.NoError(t, err)
			require.NoError(t, uidErr)
		}
	}
}

func TestPartitionInUseStaysUntilTheNextTime(t *testing.T) {
	t.Parallel()
	h := partitionedByDay(t, 5)
	now := time.Now()
	old := decisionOf(t, now.AddDate(0, 0, -5))
	_, err := h.store.Record(t.Context(), old)
	require.NoError(t, err)
	reader, err := h.registry.Begin(t.Context())
	require.NoError(t, err)
	_, err = reader.Exec(t.Context(), "select from gatehouse.decisions")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	writing.Go(func() {
		for ctx.Err() == nil {
			_, err := h.store.Record(t.Context(), allowedDecision(t, uuid.New()))
			if err != nil {
				t.Errorf("nobody who writes fails because of it: %v", err)
			}
		}
	})

	pruned, err := h.store.PruneDecisions(t.Context(), now, now.AddDate(0, 0, -3))
	require.NoError(t, err)
	require.Empty(t, pruned.Partitions)
	require.NoError(t, reader.Rollback(t.Context()))
	cancel()
	writing.Wait()

	pruned, err = h.store.PruneDecisions(t.Context(), now, now.AddDate(0, 0, -3))
	require.NoError(t, err)
	require.Equal(t, []string{partitionOf(now.AddDate(0, 0, -5)), partitionOf(now.AddDate(0, 0, -4))}, pruned.Partitions)
}

func TestUpkeepRefusesSillyTimes(t *testing.T) {
	t.Parallel()
	h := partitionedByDay(t, 3)
	now := time.Now()
	before := h.partitions(t)

	for _, refused := range []struct{ now, before time.Time }{
		{now, now}, {now, now.Add(-23*time.Hour).AddDate(0, 0, 1)}, {now, now.AddDate(1, 0, 0)},
		{now.AddDate(0, 0, 3), now.AddDate(0, 0, -30)}, {now.AddDate(0, 0, -3), now.AddDate(0, 0, -30)},
	} {
		_, err := h.store.PruneDecisions(t.Context(), refused.now, refused.before)
		var answer *pgconn.PgError
		require.ErrorAs(t, err, &answer)
		require.Equal(t, "22023", answer.Code)
	}
	for _, name := range before {
		require.Contains(t, h.partitions(t), name)
	}
}

func TestDecisionWriterIsSeenUntilItsSeqIsCommitted(t *testing.T) {
	t.Parallel()
	url := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	outbox := postgrestest.NewHeldOutbox(t, url)
	h := newHarness(t, url, func(o *postgres.Options) { o.Outbox = outbox })
	h.PutWorkspace(t, outbox.Workspace, admission.Workspace{Name: "late", Kind: "workspace", DeliveryMode: "push"})
	late := deniedDecision(t, outbox.Workspace)
	var marking sync.WaitGroup
	marking.Go(func() {
		_, err := h.store.RecordAndMark(t.Context(), late, admission.Facts{}, judgeAs(late))
		if err != nil {
			t.Error(err)
		}
	})
	outbox.WaitForIt(t)
	_, err := h.store.Record(t.Context(), allowedDecision(t, uuid.New()))
	require.NoError(t, err)

	ledger, err := h.store.DecisionsAfter(t.Context(), 0, 10)
	require.NoError(t, err)
	require.Len(t, ledger, 1)
	require.EqualValues(t, 2, ledger[0].Seq, "1 is taken and cannot be read yet")
	writers, err := h.store.DecisionWriters(t.Context())
	require.NoError(t, err)
	require.Len(t, writers, 1)
	outbox.LetGo(t)
	marking.Wait()

	writers, err = h.store.DecisionWriters(t.Context())
	require.NoError(t, err)
	require.Empty(t, writers)
	ledger, err = h.store.DecisionsAfter(t.Context(), 0, 10)
	require.NoError(t, err)
	require.Equal(t, late.ID, ledger[0].Decision.ID)
}

func TestExclusiveRightIsLostWithItsConnection(t *testing.T) {
	t.Parallel()
	h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent))
	release, lost, held, err := h.store.Exclusive(t.Context(), "audit")
	require.NoError(t, err)
	require.True(t, held)

	h.exec(t, "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())")

	<-lost
	again, _, held, err := h.AnotherStore(t).Exclusive(t.Context(), "audit")
	require.NoError(t, err)
	require.True(t, held)
	again()
	release()
}

func TestExclusiveRightOutlivesTheContextThatAskedForIt(t *testing.T) {
	t.Parallel()
	h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent))
	ctx, cancel := context.WithCancel(t.Context())
	release, _, held, err := h.store.Exclusive(ctx, "audit")
	require.NoError(t, err)
	require.True(t, held)

	cancel()

	_, _, held, err = h.store.Exclusive(t.Context(), "audit")
	require.NoError(t, err)
	require.False(t, held)
	release()
}

func TestWorkspacesAreListedWithAnOperatorsOwnFacts(t *testing.T) {
	t.Parallel()
	const ownQuery = `
select w.role is distinct from 'ghost' as "exists", json_build_object('kind', w.kind, 'own', w.name) as workspace, array['K'] as secret_keys,
    array[]::text[] as global_secret_keys
from (select $1::uuid as id) asked left join workspaces w on w.id = asked.id`
	h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent), func(o *postgres.Options) { o.FactsQuery = ownQuery })
	known := 0
	for n := range 30 {
		role := "helper"
		if n%3 == 0 {
			role = "ghost"
		} else {
			known++
		}
		h.PutWorkspace(t, uuid.New(), admission.Workspace{Name: "agent", Kind: "workspace", DeliveryMode: "push", Role: &role})
	}

	var after uuid.UUID
	var listed []audit.StoredWorkspace
	for {
		page, err := h.store.WorkspacesAfter(t.Context(), after, 7)
		require.NoError(t, err)
		listed = append(listed, page...)
		if len(page) < 7 {
			break
		}
		after = page[6].ID
	}

	require.Len(t, listed, known, "of whom the query knows nothing is left out")
	for _, workspace := range listed {
		seen, err := h.store.Facts(t.Context(), workspace.ID)
		require.NoError(t, err)
		require.Equal(t, seen, workspace.Facts)
	}
}
