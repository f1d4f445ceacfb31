package sqlite_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/internal/storetest"
	"github.com/molecule-ai/gatehouse/server/admission"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, openHarness)
}

// harness acts through a second store on the same file, with a writing connection of its own, so that
// SQLite's locks and not Go's queue are what keeps the two apart.
type harness struct {
	options      sqlite.Options
	store, other *sqlite.Store
}

// globalSecrets is the table from which the facts query of these tests reads global secrets: the store's own
// query has none.
const globalSecrets = "test_global_secrets"

func openHarness(t *testing.T) storetest.Harness {
	t.Parallel()
	query, err := os.ReadFile("facts.sql")
	require.NoError(t, err)
	const none = `'[]' as global_secret_keys`
	require.Contains(t, string(query), none)
	o := sqlite.Options{
		Path:   filepath.Join(t.TempDir(), "gatehouse.db"),
		Outbox: announced{},
		FactsQuery: strings.Replace(string(query), none,
			`(select json_group_array(g.key) from `+globalSecrets+` g) as global_secret_keys`, 1),
		BusyTimeout: time.Minute,
	}
	writeMigrated(t, o.Path)
	h := &harness{options: o, store: open(t, o), other: open(t, o)}
	h.exec(t, `create table test_announced (id text, workspace_id text, sequence integer)`)
	h.exec(t, `create table `+globalSecrets+` (key text primary key)`)
	return h
}

// announced is an outbox that keeps what it is given.
type announced struct{}

func (announced) Announce(ctx context.Context, tx *sql.Tx, events ...admission.Event) error {
	event := events[0] // of the one workspace that a transaction marks
	_, err := tx.ExecContext(ctx, `insert into test_announced values ($1, $2, $3)`,
		event.ID.String(), event.WorkspaceID.String(), event.Sequence)
	return err
}

func (h *harness) Store() storetest.Store { return h.store }

func (h *harness) AnotherStore(t testing.TB) storetest.Store { return open(t, h.options) }

func (h *harness) exec(t testing.TB, statement string, args ...any) {
	t.Helper()
	_, err := h.other.Writer().ExecContext(t.Context(), statement, args...)
	require.NoError(t, err)
}

func (h *harness) PutWorkspace(t testing.TB, id uuid.UUID, w admission.Workspace) {
	t.Helper()
	require.NoError(t, h.other.PutWorkspace(t.Context(), id, w))
}

func (h *harness) DeleteWorkspace(t testing.TB, id uuid.UUID) {
	t.Helper()
	require.NoError(t, h.other.DeleteWorkspace(t.Context(), id))
}

func (h *harness) PutSecret(t testing.TB, id uuid.UUID, key string) (status string) {
	t.Helper()
	tx, err := h.other.Writer().BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), `insert into workspace_secrets values ($1, $2)`, id.String(), key)
	require.NoError(t, err)
	err = tx.QueryRowContext(t.Context(),
		`select coalesce(status, '') from workspaces where id = $1`, id.String()).Scan(&status)
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	return status
}

func (h *harness) DeleteSecret(t testing.TB, id uuid.UUID, key string) {
	t.Helper()
	require.NoError(t, h.other.DeleteSecretKey(t.Context(), id, key))
}

func (h *harness) PutGlobalSecret(t testing.TB, key string) {
	t.Helper()
	h.exec(t, `insert into `+globalSecrets+` values ($1)`, key)
}

func (h *harness) Row(t testing.TB, id uuid.UUID) storetest.Row {
	t.Helper()
	var row storetest.Row
	var updated string
	err := h.other.Writer().QueryRowContext(t.Context(), `
		select coalesce(status, ''), coalesce(last_sample_error, ''), updated_at from workspaces where id = $1`,
		id.String()).Scan(&row.Status, &row.LastError, &updated)
	require.NoError(t, err)
	row.UpdatedAt, err = time.Parse(time.RFC3339Nano, updated)
	require.NoError(t, err)
	return row
}

func (h *harness) StructureEvents(t testing.TB, id uuid.UUID) ([]storetest.StructureEvent, bool) {
	t.Helper()
	types := texts(t, h.other, `select event_type from structure_events where workspace_id = $1 order by id`, id.String())
	payloads := texts(t, h.other, `select payload from structure_events where workspace_id = $1 order by id`, id.String())
	events := make([]storetest.StructureEvent, len(types))
	for i := range types {
		events[i] = storetest.StructureEvent{Type: types[i], Payload: []byte(payloads[i])}
	}
	return events, true
}

func (h *harness) OutgoingEvents(t testing.TB, id uuid.UUID) []storetest.OutgoingEvent {
	t.Helper()
	ids := h.ids(t, `select id from events where workspace_id = $1 order by seq`, id)
	messages := texts(t, h.other, `select message from events where workspace_id = $1 order by seq`, id.String())
	events := make([]storetest.OutgoingEvent, len(ids))
	for i := range ids {
		events[i] = storetest.OutgoingEvent{ID: ids[i], Message: []byte(messages[i])}
	}
	return events
}

func (h *harness) Announced(t testing.TB, id uuid.UUID) []storetest.Announcement {
	t.Helper()
	rows, err := h.other.Writer().QueryContext(t.Context(),
		`select id, sequence from test_announced where workspace_id = $1 order by sequence`, id.String())
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	var announced []storetest.Announcement
	for rows.Next() {
		var a storetest.Announcement
		require.NoError(t, rows.Scan(&a.ID, &a.Sequence))
		announced = append(announced, a)
	}
	require.NoError(t, rows.Err())
	return announced
}

func (h *harness) Decisions(t testing.TB, id uuid.UUID) []uuid.UUID {
	t.Helper()
	return h.ids(t, `select id from decisions where workspace_id = $1`, id)
}

func (h *harness) ids(t testing.TB, query string, id uuid.UUID) []uuid.UUID {
	t.Helper()
	found := texts(t, h.other, query, id.String())
	ids := make([]uuid.UUID, len(found))
	for i := range found {
		ids[i] = uuid.MustParse(found[i])
	}
	return ids
}
