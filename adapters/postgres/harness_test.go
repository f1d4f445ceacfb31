package postgres_test

import (
	"context"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/postgres"
	"github.com/molecule-ai/gatehouse/internal/storetest"
	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/server/admission"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// The tests share a few databases, which are emptied for each: making one takes longer than most of the tests do.
func TestConformance(t *testing.T) {
	free := make(chan *harness, min(4, runtime.GOMAXPROCS(0)))
	for range cap(free) {
		free <- newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent))
	}
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		t.Parallel()
		h := <-free
		t.Cleanup(func() { free <- h })
		h.exec(t, `
truncate workspaces, workspace_secrets, global_secrets, structure_events, outbox,
    gatehouse.decisions, gatehouse.request_uids, gatehouse.events,
    gatehouse.shadow_divergences, gatehouse.shadow_counts,
    gatehouse.shipped, gatehouse.audit_runs, gatehouse.audit_findings, gatehouse.policy_activations,
    gatehouse.prune_clock`)
		return h
	})
}

// harness is a store on a migrated database, and the registry at its side.
type harness struct {
	url      string
	store    *postgres.Store
	registry *pgxpool.Pool
}

var _ storetest.Harness = (*harness)(nil)

// newHarness opens a store on url with a table as its outbox; change is applied to its options.
func newHarness(t testing.TB, url string, change ...func(*postgres.Options)) *harness {
	t.Helper()
	registry, err := pgxpool.New(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(registry.Close)
	_, err = registry.Exec(t.Context(),
		"create table outbox (event_id uuid, workspace_id uuid, sequence bigint)")
	require.NoError(t, err)
	store := open(t, url, append([]func(*postgres.Options){
		func(o *postgres.Options) { o.Outbox, o.MaxConns = tableOutbox{}, 8 },
	}, change...)...)
	require.NoError(t, store.Migrate(t.Context()))
	return &harness{url: url, store: store, registry: registry}
}

func open(t testing.TB, url string, change ...func(*postgres.Options)) *postgres.Store {
	t.Helper()
	options := postgres.Options{URL: url}
	for _, c := range change {
		c(&options)
	}
	store, err := postgres.Open(t.Context(), options)
	require.NoError(t, err)
	t.Cleanup(store.Close)
	return store
}

// tableOutbox is an outbox like River's: rows of the transaction.
type tableOutbox struct{}

func (tableOutbox) Wake(context.Context, pgx.Tx) error { return nil }

func (tableOutbox) Announce(ctx context.Context, tx pgx.Tx, events ...admission.Event) error {
	var ids, workspaces [][16]byte
	var sequences []int64
	for _, e := range events {
		ids, workspaces, sequences = append(ids, e.ID), append(workspaces, e.WorkspaceID), append(sequences, e.Sequence)
	}
	_, err := tx.Exec(ctx, "insert into outbox select * from unnest($1::uuid[], $2::uuid[], $3::bigint[])", ids, workspaces, sequences)
	return err
}

func (h *harness) Store() storetest.Store { return h.store }

func (h *harness) AnotherStore(t testing.TB) storetest.Store {
	t.Helper()
	return open(t, h.url, func(o *postgres.Options) { o.Outbox, o.MaxConns = tableOutbox{}, 4 })
}

func (h *harness) exec(t testing.TB, sql string, arguments ...any) {
	t.Helper()
	_, err := h.registry.Exec(context.WithoutCancel(t.Context()), sql, arguments...)
	require.NoError(t, err)
}

func (h *harness) PutWorkspace(t testing.TB, id uuid.UUID, w admission.Workspace) {
	t.Helper()
	h.exec(t, `
insert into workspaces (
    id, name, kind, status, tier, runtime, role, url, parent_id, workspace_access, workspace_dir,
    budget_limit, monthly_spend, last_sample_error, delivery_mode
) values ($1, $2, $3, $4::workspace_status, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
on conflict (id) do update set
    name = excluded.name, kind = excluded.kind, status = excluded.status, tier = excluded.tier,
    runtime = excluded.runtime, role = excluded.role, url = excluded.url, parent_id = excluded.parent_id,
    workspace_access = excluded.workspace_access, workspace_dir = excluded.workspace_dir,
    budget_limit = excluded.budget_limit, monthly_spend = excluded.monthly_spend,
    last_sample_error = excluded.last_sample_error, delivery_mode = excluded.delivery_mode, updated_at = now()`,
		id, w.Name, w.Kind, w.Status, w.Tier, w.Runtime, w.Role, w.URL, w.ParentID, w.WorkspaceAccess,
		w.WorkspaceDir, w.BudgetLimit, w.MonthlySpend, w.LastSampleError, w.DeliveryMode)
}

func (h *harness) DeleteWorkspace(t testing.TB, id uuid.UUID) {
	t.Helper()
	h.exec(t, "delete from workspace_secrets where workspace_id = $1", id)
	h.exec(t, "delete from workspaces where id = $1", id)
}

func (h *harness) PutSecret(t testing.TB, id uuid.UUID, key string) string {
	t.Helper()
	status, err := h.insertSecret(t.Context(), id, key)
	require.NoError(t, err)
	return status
}

func (h *harness) insertSecret(ctx context.Context, id uuid.UUID, key string) (status string, err error) {
	err = pgx.BeginFunc(ctx, h.registry, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
insert into workspace_secrets (workspace_id, key, encrypted_value) values ($1, $2, '\x00')`, id, key)
		if err != nil {
			return err
		}
		return tx.QueryRow(ctx, "select coalesce(status::text, '') from workspaces where id = $1", id).Scan(&status)
	})
	return status, err
}

func (h *harness) DeleteSecret(t testing.TB, id uuid.UUID, key string) {
	t.Helper()
	h.exec(t, "delete from workspace_secrets where workspace_id = $1 and key = $2", id, key)
}

func (h *harness) PutGlobalSecret(t testing.TB, key string) {
	t.Helper()
	h.exec(t, `insert into global_secrets (key, encrypted_value) values ($1, '\x00')`, key)
}

func (h *harness) Row(t testing.TB, id uuid.UUID) storetest.Row {
	t.Helper()
	var row storetest.Row
	err := h.registry.QueryRow(t.Context(), `
select coalesce(status::text, ''), coalesce(last_sample_error, ''), updated_at from workspaces where id = $1`, id).
		Scan(&row.Status, &row.LastError, &row.UpdatedAt)
	require.NoError(t, err)
	return row
}

func (h *harness) StructureEvents(t testing.TB, id uuid.UUID) ([]storetest.StructureEvent, bool) {
	t.Helper()
	return collect(t, h, pgx.RowToStructByPos[storetest.StructureEvent], `
select event_type, payload from structure_events where workspace_id = $1 order by created_at`, id), true
}

func (h *harness) OutgoingEvents(t testing.TB, id uuid.UUID) []storetest.OutgoingEvent {
	t.Helper()
	return collect(t, h, pgx.RowToStructByPos[storetest.OutgoingEvent], `
select id, message from gatehouse.events where workspace_id = $1 order by seq`, id)
}

func (h *harness) Announced(t testing.TB, id uuid.UUID) []storetest.Announcement {
	t.Helper()
	return collect(t, h, pgx.RowToStructByPos[storetest.Announcement],
		"select event_id, sequence from outbox where workspace_id = $1 order by sequence", id)
}

func (h *harness) Decisions(t testing.TB, id uuid.UUID) []uuid.UUID {
	t.Helper()
	return collect(t, h, pgx.RowTo[uuid.UUID], "select id from gatehouse.decisions where workspace_id = $1 order by id", id)
}

func collect[T any](t testing.TB, h *harness, read pgx.RowToFunc[T], sql string, arguments ...any) []T {
	t.Helper()
	rows, err := h.registry.Query(t.Context(), sql, arguments...)
	require.NoError(t, err)
	all, err := pgx.CollectRows(rows, read)
	require.NoError(t, err)
	return all
}

// platformRow inserts a platform workspace without secrets.
func (h *harness) platformRow(t testing.TB) uuid.UUID {
	t.Helper()
	id := uuid.New()
	h.exec(t, "insert into workspaces (id, name, kind) values ($1, 'concierge', 'platform')", id)
	return id
}

// deniedDecision marks its workspace failed.
func deniedDecision(t testing.TB, id uuid.UUID) admission.Decision {
	t.Helper()
	d := allowedDecision(t, id)
	d.Verdict = admission.NewVerdict([]admission.Violation{{
		Rule: "platform_requires_model", Code: "PLATFORM_AGENT_IDENTITY_GATE", Reason: "model_missing",
		Message: "the platform agent has no MODEL secret", Severity: admission.Critical,
		Enforcement: admission.Deny, Status: 400, MarkFailed: true,
	}}, "revision-1")
	return d
}

func allowedDecision(t testing.TB, id uuid.UUID) admission.Decision {
	t.Helper()
	decisionID, err := uuid.NewV7()
	require.NoError(t, err)
	return admission.Decision{
		ID: decisionID, At: time.Now().UTC().Truncate(time.Microsecond), Hook: "register",
		CallerProof: admission.Token, WorkspaceID: id, Kind: "platform", Input: []byte(`{}`),
		Verdict: admission.NewVerdict(nil, "revision-1"),
	}
}

// mark asks for a mark on the facts as they are.
func (h *harness) mark(ctx context.Context, t testing.TB, d admission.Decision) (admission.Decision, error) {
	t.Helper()
	seen, err := h.store.Facts(context.WithoutCancel(ctx), d.WorkspaceID)
	require.NoError(t, err)
	judged, err := h.store.RecordAndMark(ctx, d, seen, judgeAs(d))
	return judged.Decision, err
}

func judgeAs(d admission.Decision) admission.Judge {
	return func(context.Context, admission.Facts) (admission.Judged, error) {
		return admission.Judged{Decision: d}, nil
	}
}

// requireUntouched says that the workspace is as the registry inserted it, and nothing was written of it.
func (h *harness) requireUntouched(t testing.TB, id uuid.UUID) {
	t.Helper()
	row := h.Row(t, id)
	require.Equal(t, "provisioning", row.Status)
	require.Empty(t, row.LastError)
	structure, _ := h.StructureEvents(t, id)
	require.Empty(t, structure)
	require.Empty(t, h.OutgoingEvents(t, id))
	require.Empty(t, h.Announced(t, id))
	require.Empty(t, h.Decisions(t, id))
}
