package postgres_test

import (
	"os"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/require"

	"gatehouse/adapters/postgres"
	"gatehouse/internal/testenv"
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
	url := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	stores := []*postgres.Store{open(t, url), open(t, url), open(t, url)}
	pending, err := stores[0].Pending(t.Context())
	require.NoError(t, err)
	require.Equal(t, versions(t), pending)
	require.ErrorContains(t, stores[0].Ready(t.Context()), "run gatehouse migrate")

	errs := make([]error, len(stores))
	var running sync.WaitGroup
	for i, store := range stores {
		running.Go(func() { errs[i] = store.Migrate(t.Context()) })
	}
	running.Wait()

	for i, store := range stores {
		require.NoError(t, errs[i])
		require.NoError(t, store.Migrate(t.Context()))
		require.NoError(t, store.Ready(t.Context()))
	}
	pending, err = stores[0].Pending(t.Context())
	require.NoError(t, err)
	require.Empty(t, pending)
}

func TestMigrationsTouchNothingOfTheRegistry(t *testing.T) {
	store := open(t, testenv.DatabaseURL(t, testenv.Empty))

	require.NoError(t, store.Migrate(t.Context()))

	var tables int
	err := store.Pool().QueryRow(t.Context(), "select count(*) from pg_tables where schemaname = 'public'").Scan(&tables)
	require.NoError(t, err)
	require.Zero(t, tables)
}

func TestACommitIsDurableWhateverTheServersDefault(t *testing.T) {
	url := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	for asked, want := range map[string]string{"": "on", "&synchronous_commit=off": "on", "&synchronous_commit=remote_apply": "remote_apply"} {
		store := open(t, url+asked)

		var setting string
		require.NoError(t, store.Pool().QueryRow(t.Context(), "show synchronous_commit").Scan(&setting))

		require.Equal(t, want, setting)
	}
}

func TestAURLThatCannotBeReadIsRefusedWithoutItsPassword(t *testing.T) {
	_, err := postgres.Open(t.Context(), postgres.Options{URL: "postgres://gatehouse:hunter2@localhost:no/registry"})

	require.ErrorContains(t, err, "reading the database URL")
	require.NotContains(t, err.Error(), "hunter2")
}

func TestStillFailedIsTheStatusNow(t *testing.T) {
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
