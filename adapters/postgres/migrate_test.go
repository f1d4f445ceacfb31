package postgres_test

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/postgres"
	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// versions are those of all migrations.
func versions(t *testing.T) []int64 {
	t.Helper()
	files, err := os.ReadDir("migrations")
	require.NoError(t, err)
	found := make([]int64, len(files))
	for i, file := range files {
		found[i], err = goose.NumericComponent(file.Name())
		require.NoError(t, err)
	}
	return found
}

func TestMigrationsAreAppliedOnceHoweverManyProcessesTry(t *testing.T) {
	t.Parallel()
	url := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	stores := []*postgres.Store{open(t, url), open(t, url), open(t, url)}
	pending, err := stores[0].Pending(t.Context())
	require.NoError(t, err)
	require.Equal(t, versions(t), pending)
	require.ErrorContains(t, stores[0].LedgerReady(t.Context(), false), "run gatehouse migrate")

	errs := make([]error, len(stores))
	var running sync.WaitGroup
	for i, store := range stores {
		running.Go(func() { errs[i] = store.Migrate(t.Context()) })
	}
	running.Wait()

	for i, store := range stores {
		require.NoError(t, errs[i])
		require.NoError(t, store.Migrate(t.Context()))
		require.NoError(t, store.LedgerReady(t.Context(), true))
	}
	pending, err = stores[0].Pending(t.Context())
	require.NoError(t, err)
	require.Empty(t, pending)
}

func TestMigrationsTouchNothingOfTheRegistry(t *testing.T) {
	t.Parallel()
	store := open(t, testenv.DatabaseURL(t, testenv.Empty))

	require.NoError(t, store.Migrate(t.Context()))

	var tables int
	err := store.Pool().QueryRow(t.Context(), "select count(*) from pg_tables where schemaname = 'public'").Scan(&tables)
	require.NoError(t, err)
	require.Zero(t, tables)
}

// A uid of before uids had callers is that of its decision's caller, and no other's.
func TestOldUIDsBelongToTheCallersOfTheirDecisions(t *testing.T) {
	t.Parallel()
	url := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	schema := atVersion(t, url, 8)
	before, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer func() { require.NoError(t, before.Close(context.WithoutCancel(t.Context()))) }()
	exec := func(statement string, args ...any) {
		t.Helper()
		_, err := before.Exec(t.Context(), statement, args...)
		require.NoError(t, err)
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	named := version4Decision(uuid.Must(uuid.NewV7()), now, "1")
	unnamed := version4Decision(uuid.Must(uuid.NewV7()), now, "2")
	unnamed.Caller = ""
	exec(version4SQL, named.ID, now, named.UID)
	exec(version4SQL, unnamed.ID, now, unnamed.UID)
	exec("update gatehouse.decisions set caller = '' where id = $1", unnamed.ID)
	exec("insert into gatehouse.request_uids select 'of nothing', digest, gen_random_uuid(), decided_at from gatehouse.request_uids limit 1")

	h := newHarness(t, url)

	for _, want := range []admission.Decision{named, unnamed} {
		recorded, err := h.store.Recorded(t.Context(), want.RequestKey())
		require.NoError(t, err)
		require.EqualValues(t, 0xab, recorded.Digest[31])
		recorded.Digest = [32]byte{}
		require.Equal(t, want, recorded)
		again := allowedDecision(t, uuid.New())
		again.Caller, again.UID = want.Caller, want.UID
		recorded, err = h.store.Record(t.Context(), again)
		require.NoError(t, err)
		require.Equal(t, want.ID, recorded.ID, "what was answered stays the answer")
	}
	other := allowedDecision(t, uuid.New())
	other.Caller, other.UID = "another registry", named.UID
	_, err = h.store.Recorded(t.Context(), other.RequestKey())
	require.ErrorIs(t, err, admission.ErrNotRecorded)
	recorded, err := h.store.Record(t.Context(), other)
	require.NoError(t, err)
	require.Equal(t, other.ID, recorded.ID)
	const uids = "select uid from gatehouse.request_uids order by uid"
	require.Equal(t, []string{"1", "1", "2"}, collect(t, h, pgx.RowTo[string], uids))
	_, err = before.Exec(t.Context(), version4SQL, uuid.Must(uuid.NewV7()), now, "3")
	require.ErrorContains(t, err, "ON CONFLICT", "a replica of before fails rather than claim for every caller")

	_, err = schema.DownTo(t.Context(), 8)
	require.NoError(t, err)
	require.Equal(t, []string{"1", "2"}, collect(t, h, pgx.RowTo[string], uids))
	exec(version4SQL, uuid.Must(uuid.NewV7()), now, "3")
	_, err = schema.Up(t.Context())
	require.NoError(t, err)
	recorded, err = h.store.Recorded(t.Context(), named.RequestKey())
	require.NoError(t, err)
	require.Equal(t, named.ID, recorded.ID)
}

func TestCommitIsDurableWhateverTheServersDefault(t *testing.T) {
	t.Parallel()
	url := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	for asked, want := range map[string]string{"": "on", "&synchronous_commit=off": "on", "&synchronous_commit=remote_apply": "remote_apply"} {
		store := open(t, url+asked)

		var setting string
		require.NoError(t, store.Pool().QueryRow(t.Context(), "show synchronous_commit").Scan(&setting))

		require.Equal(t, want, setting)
	}
}

func TestUnreadableURLIsRefusedWithoutItsPassword(t *testing.T) {
	t.Parallel()
	_, err := postgres.Open(t.Context(), postgres.Options{URL: "postgres://gatehouse:hunter2@localhost:no/registry"})

	require.ErrorContains(t, err, "the database URL is not postgres:")
	require.NotContains(t, err.Error(), "hunter2")
}

func TestStillFailedIsTheStatusNow(t *testing.T) {
	t.Parallel()
	h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent))
	id := h.platformRow(t)

	for status, want := range map[string]bool{"failed": true, "online": false} {
		h.exec(t, "update workspaces set status = $2::text::workspace_status where id = $1", id, status)
		failed, err := h.store.StillFailed(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, want, failed)
	}

	h.exec(t, "update workspaces set status = null where id = $1", id)
	for _, gone := range []uuid.UUID{id, uuid.New()} {
		failed, err := h.store.StillFailed(t.Context(), gone)
		require.NoError(t, err)
		require.False(t, failed)
	}
}
