package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/postgres"
	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// Marks that come at the same time share transactions, and must not share anything else. These tests bring many
// at once; which of them meet in one transaction is chance, so each holds for any way of sharing.

func (h *harness) putWorkspaces(t testing.TB, n int) []uuid.UUID {
	t.Helper()
	ids := make([]uuid.UUID, n)
	for i := range ids {
		ids[i] = uuid.New()
		h.PutWorkspace(t, ids[i], admission.Workspace{Name: "one of many", Kind: "workspace", Status: new("provisioning"), DeliveryMode: "push"})
	}
	return ids
}

// markAll marks all at once, and gives what came of each.
func (h *harness) markAll(t testing.TB, decisions []admission.Decision, judge func(i int) admission.Judge) ([]admission.Decision, []error) {
	t.Helper()
	marked, errs := make([]admission.Decision, len(decisions)), make([]error, len(decisions))
	var marking sync.WaitGroup
	for i, d := range decisions {
		marking.Go(func() {
			judged, err := h.store.RecordAndMark(t.Context(), d, admission.Facts{}, judge(i))
			marked[i], errs[i] = judged.Decision, err
		})
	}
	marking.Wait()
	return marked, errs
}

func denials(t testing.TB, ids []uuid.UUID) []admission.Decision {
	t.Helper()
	decisions := make([]admission.Decision, len(ids))
	for i, id := range ids {
		decisions[i] = deniedDecision(t, id)
	}
	return decisions
}

func TestLockedRowHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent), func(o *postgres.Options) { o.Timeout = 2 * patience })
	ids := h.putWorkspaces(t, 30)
	held := ids[:2]
	for _, id := range held {
		defer h.lockRow(t, id)()
	}
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	var ended atomic.Int64
	for _, d := range denials(t, held) {
		waiting.Go(func() {
			_, _ = h.store.RecordAndMark(ctx, d, admission.Facts{}, judgeAs(d))
			ended.Add(1)
		})
	}
	defer waiting.Wait()
	defer cancel()

	decisions := denials(t, ids[2:])
	marked, errs := h.markAll(t, decisions, func(i int) admission.Judge { return judgeAs(decisions[i]) })

	for i := range decisions {
		require.NoError(t, errs[i])
		require.True(t, marked[i].MarkedFailed)
	}
	require.Zero(t, ended.Load(), "those whose rows are held wait still: the others did not wait for them to give up")
}

func TestDenyThatCannotBeDecidedAgainFailsAlone(t *testing.T) {
	t.Parallel()
	h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent))
	decisions := denials(t, h.putWorkspaces(t, 30))
	undecided := errors.New("the policies gave no verdict")

	marked, errs := h.markAll(t, decisions, func(i int) admission.Judge {
		if i%5 == 0 {
			return func(context.Context, admission.Facts) (admission.Judged, error) {
				return admission.Judged{}, undecided
			}
		}
		return judgeAs(decisions[i])
	})

	for i, d := range decisions {
		if i%5 == 0 {
			require.ErrorIs(t, errs[i], undecided)
			h.requireUntouched(t, d.WorkspaceID)
			continue
		}
		require.NoError(t, errs[i])
		require.True(t, marked[i].MarkedFailed)
		require.Len(t, h.Announced(t, d.WorkspaceID), 1)
	}
}

func TestRepeatedUIDIsAnsweredWithoutItsBatch(t *testing.T) {
	t.Parallel()
	h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent))
	ids := h.putWorkspaces(t, 30)
	answered := make(map[int]uuid.UUID)
	decisions := denials(t, ids)
	for i := range decisions {
		decisions[i].UID = fmt.Sprintf("uid-%d", i)
		if i%5 == 0 {
			first := allowedDecision(t, ids[i])
			first.UID = decisions[i].UID
			_, err := h.store.Record(t.Context(), first)
			require.NoError(t, err)
			answered[i] = first.ID
		}
	}

	marked, errs := h.markAll(t, decisions, func(i int) admission.Judge { return judgeAs(decisions[i]) })

	for i := range decisions {
		require.NoError(t, errs[i])
		if first, repeated := answered[i]; repeated {
			require.Equal(t, first, marked[i].ID)
			require.Empty(t, h.OutgoingEvents(t, ids[i]))
			require.Equal(t, "provisioning", h.Row(t, ids[i]).Status)
			continue
		}
		require.Equal(t, decisions[i].ID, marked[i].ID)
		require.Len(t, h.OutgoingEvents(t, ids[i]), 1)
		require.Equal(t, "failed", h.Row(t, ids[i]).Status)
	}
}

func TestFactsThatAreAskedForTogetherAreThoseOfEachAlone(t *testing.T) {
	t.Parallel()
	for name, query := range map[string]string{
		"the built-in query": "",
		"an operator's own": `select $1::uuid <> '00000000-0000-0000-0000-000000000000' as "exists",
			jsonb_build_object('kind', 'workspace', 'name', $1::text) as workspace, '{}'::text[] as secret_keys, '{}'::text[] as global_secret_keys`,
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent), func(o *postgres.Options) { o.FactsQuery = query })
			ids := append(h.putWorkspaces(t, 60), uuid.New(), uuid.Nil)
			for i, id := range ids[:40] {
				h.PutSecret(t, id, fmt.Sprintf("KEY_%d", i%3))
			}
			alone := make([]admission.Facts, len(ids))
			for i, id := range ids {
				var err error
				alone[i], err = h.store.Facts(t.Context(), id)
				require.NoError(t, err)
			}
			for range 5 {
				var asking sync.WaitGroup
				together, errs := make([]admission.Facts, len(ids)), make([]error, len(ids))
				for i, id := range ids {
					asking.Go(func() { together[i], errs[i] = h.store.Facts(t.Context(), id) })
				}
				asking.Wait()
				require.NoError(t, errors.Join(errs...))
				require.Equal(t, alone, together)
			}
		})
	}
}

// countingOutbox counts the round trips before its statement and with it, and looks whether anything comes after it.
type countingOutbox struct {
	proxy     *proxy
	committed func() bool
	counts    *[2]int
}

func (countingOutbox) Wake(context.Context, pgx.Tx) error { return nil }

func (o countingOutbox) Announce(ctx context.Context, tx pgx.Tx, events ...admission.Event) error {
	o.counts[0] = o.proxy.roundTrips()
	err := tableOutbox{}.Announce(ctx, tx, events...)
	o.counts[1] = o.proxy.roundTrips()
	if err == nil && !o.committed() {
		return errors.New("the commit did not go with the outbox's statement")
	}
	return err
}

func TestMarkTakesTwoRoundTrips(t *testing.T) {
	t.Parallel()
	database := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	h := newHarness(t, database)
	ids := h.putWorkspaces(t, 2)
	proxy, url := newProxy(t, database)
	var marking uuid.UUID
	var counts [2]int
	committed := func() bool {
		return assert.Eventually(t, func() bool { return h.Row(t, marking).Status == "failed" }, patience, time.Millisecond)
	}
	store := open(t, url, func(o *postgres.Options) { o.MaxConns, o.Outbox = 1, countingOutbox{proxy, committed, &counts} })

	for _, marking = range ids { // the first time, statements are prepared
		d := deniedDecision(t, marking)
		seen, err := store.Facts(t.Context(), marking)
		require.NoError(t, err)
		before := 0
		require.Eventually(t, func() bool { // until whoever was to be woken has been
			earlier := before
			before = proxy.roundTrips()
			return earlier == before && store.Pool().Stat().AcquiredConns() == 0
		}, patience, 20*time.Millisecond)
		marked, err := store.RecordAndMark(t.Context(), d, seen, judgeAs(d))
		require.NoError(t, err)
		require.True(t, marked.MarkedFailed)
		if marking == ids[1] {
			require.Equal(t, [2]int{before + 1, before + 2}, counts)
		}
	}
}

// An outbox that asks more of its transaction than fits is told so, and never that it is done.
func TestOutboxHasOneStatement(t *testing.T) {
	t.Parallel()
	h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent), func(o *postgres.Options) { o.Outbox = twiceOutbox{} })
	_, err := h.mark(t.Context(), t, deniedDecision(t, h.platformRow(t)))
	require.ErrorContains(t, err, "one statement")
}

type twiceOutbox struct{ tableOutbox }

func (o twiceOutbox) Announce(ctx context.Context, tx pgx.Tx, events ...admission.Event) error {
	return errors.Join(o.tableOutbox.Announce(ctx, tx, events...), o.tableOutbox.Announce(ctx, tx, events...))
}

// The registry's tables may have triggers that drop rows without a word. Then there is no mark at all.
func TestEffectThatComesToNothingUndoesTheMark(t *testing.T) {
	t.Parallel()
	for table, event := range map[string]string{"workspaces": "update", "structure_events": "insert", "gatehouse.events": "insert"} {
		t.Run(table, func(t *testing.T) {
			h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent))
			id := h.platformRow(t)
			h.exec(t, "create function drop_row() returns trigger language plpgsql as 'begin return null; end'")
			h.exec(t, "create trigger drop_rows before "+event+" on "+table+" for each row execute function drop_row()")

			_, err := h.mark(t.Context(), t, deniedDecision(t, id))

			require.ErrorContains(t, err, "0 rows were changed instead of 1")
			h.requireUntouched(t, id)
		})
	}
}

type failingOutbox struct{ tableOutbox }

func (failingOutbox) Announce(ctx context.Context, tx pgx.Tx, _ ...admission.Event) error {
	_, err := tx.Exec(ctx, "select 1 / 0")
	return err
}

func TestOutboxStatementThatFailsUndoesTheMark(t *testing.T) {
	t.Parallel()
	h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent),
		func(o *postgres.Options) { o.MaxConns, o.Outbox = 1, failingOutbox{} })
	id := h.platformRow(t)
	require.NoError(t, h.store.FactsReady(t.Context()))
	before := h.store.Pool().Stat().NewConnsCount()

	_, err := h.mark(t.Context(), t, deniedDecision(t, id))

	require.ErrorContains(t, err, "division by zero")
	h.requireUntouched(t, id)
	require.NoError(t, h.store.FactsReady(t.Context()))
	require.Equal(t, before, h.store.Pool().Stat().NewConnsCount())
}

// A statement that is planned for each batch anew takes twice as long.
func TestStatementsOfBatchesArePlannedOnce(t *testing.T) {
	t.Parallel()
	url := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	h := newHarness(t, url)
	store := open(t, url, func(o *postgres.Options) { o.MaxConns, o.Outbox = 1, tableOutbox{} })
	const rounds, customAtFirst = 20, 5 // Postgres tries plans of their own for the first five
	for range rounds {
		ids := h.putWorkspaces(t, 2)
		var asking sync.WaitGroup
		for _, id := range ids {
			asking.Go(func() {
				_, err := store.Facts(t.Context(), id)
				assert.NoError(t, err)
				d := deniedDecision(t, id)
				d.UID = d.ID.String()
				_, err = store.Recorded(t.Context(), d.RequestKey())
				assert.ErrorIs(t, err, admission.ErrNotRecorded)
				_, err = store.RecordAndMark(t.Context(), d, admission.Facts{}, judgeAs(d))
				assert.NoError(t, err)
			})
		}
		asking.Wait()
	}

	var statements int
	var replanned []string
	err := store.Pool().QueryRow(t.Context(), `
select count(*), array_agg(statement) filter (where custom_plans > $1) from pg_prepared_statements
where generic_plans + custom_plans > 2 * $1`, customAtFirst).Scan(&statements, &replanned)
	require.NoError(t, err)
	require.GreaterOrEqual(t, statements, 6)
	require.Empty(t, replanned)
}

// Postgres keeps the plan that it made while a table was small, until the table is analyzed. By then a plan that reads
// all of it has cost more with each batch. (The registry's tables are there before Gatehouse is.)
func TestStatementsOnOwnTablesThatWerePlannedWhileTheseWereSmallUseIndexes(t *testing.T) {
	t.Parallel()
	h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent))
	for _, id := range h.putWorkspaces(t, 5) {
		d := deniedDecision(t, id)
		d.UID = d.ID.String()
		_, err := h.mark(t.Context(), t, d)
		require.NoError(t, err)
	}
	registry, err := h.registry.Acquire(t.Context())
	require.NoError(t, err)
	defer registry.Release()
	_, err = registry.Exec(t.Context(), "set plan_cache_mode = force_generic_plan")
	require.NoError(t, err)
	for name, statement := range postgres.StatementsOnOwnTables() {
		prepared, err := registry.Conn().Prepare(t.Context(), name, statement)
		require.NoError(t, err)
		arguments := strings.TrimSuffix(strings.Repeat("null, ", len(prepared.ParamOIDs)), ", ")
		rows, err := registry.Query(t.Context(), fmt.Sprintf("explain (costs off) execute %q (%s)", name, arguments),
			pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err)
		plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		assert.NotContains(t, strings.Join(plan, "\n"), "Seq Scan", name)
	}
}
