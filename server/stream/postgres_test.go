package stream_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/postgres"
	"github.com/molecule-ai/gatehouse/adapters/postgres/postgrestest"
	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/stream"
)

// openPostgres opens a replica's store, and makes the tables if need be.
func openPostgres(t testing.TB, url string, change ...func(*postgres.Options)) *postgres.Store {
	t.Helper()
	options := postgres.Options{URL: url, MaxConns: 8}
	for _, c := range change {
		c(&options)
	}
	store, err := postgres.Open(t.Context(), options)
	require.NoError(t, err)
	t.Cleanup(store.Close)
	require.NoError(t, store.Migrate(t.Context()))
	return store
}

// postgresRegistry puts workspaces online, so that they can be marked again.
type postgresRegistry struct {
	*pgxpool.Pool
}

func openRegistry(t testing.TB, url string) postgresRegistry {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return postgresRegistry{pool}
}

func (r postgresRegistry) online(ctx context.Context, id uuid.UUID) error {
	_, err := r.Exec(ctx, `
insert into workspaces (id, name, kind, status) values ($1, 'w', 'workspace', 'online')
on conflict (id) do update set status = 'online', last_sample_error = null`, id)
	return err
}

func TestStreamIsTheSameOnTwoReplicasAndResumesAnywhere(t *testing.T) {
	url := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	registry := openRegistry(t, url)
	stores := []*postgres.Store{openPostgres(t, url), openPostgres(t, url)}
	var hubs []*stream.Hub[admission.Event]
	for _, store := range stores {
		hubs = append(hubs, start(t, store, stream.Options{Keep: 50}))
	}
	requireStreams(t, hubs, stores[0], func(worker, i int) error {
		id := uuid.UUID{14: byte(worker), 15: byte(i % 5)}
		err := registry.online(t.Context(), id)
		if err != nil {
			return err
		}
		return mark(t.Context(), stores[i%2], id)
	})
}

func TestEventCommittedLateIsNotLost(t *testing.T) {
	url := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	registry := openRegistry(t, url)
	outbox := postgrestest.NewHeldOutbox(t, url)
	store := openPostgres(t, url, func(o *postgres.Options) { o.Outbox, o.Timeout = outbox, patience })
	hub := start(t, store, stream.Options{})
	next, err := hub.Subscribe(t.Context(), stream.FromNow)
	require.NoError(t, err)
	require.Equal(t, []stream.Streamed[admission.Event]{{Position: 0}}, read(t, next, 1))
	other := uuid.New()
	require.NoError(t, registry.online(t.Context(), outbox.Workspace))
	require.NoError(t, registry.online(t.Context(), other))
	var late error
	var marking sync.WaitGroup
	marking.Go(func() { late = mark(t.Context(), store, outbox.Workspace) })
	outbox.WaitForIt(t)
	require.NoError(t, mark(t.Context(), store, other))

	got := read(t, next, 1)
	require.Equal(t, other, got[0].Item.WorkspaceID)
	require.Zero(t, got[0].Position, "who goes now must get the late one when it comes back")
	starting := start(t, store, stream.Options{Poll: 10 * time.Millisecond})
	outbox.LetGo(t)
	marking.Wait()
	require.NoError(t, late)
	got = read(t, next, 1)
	require.Equal(t, outbox.Workspace, got[0].Item.WorkspaceID)
	require.EqualValues(t, 2, got[0].Position)

	for _, h := range []*stream.Hub[admission.Event]{hub, starting} {
		next, err = h.Subscribe(t.Context(), 0)
		require.NoError(t, err)
		require.Len(t, read(t, next, 2), 2)
	}
}

func TestRolledBackMarkLeavesNoGapForLong(t *testing.T) {
	url := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	registry := openRegistry(t, url)
	store := openPostgres(t, url)
	hub := start(t, store, stream.Options{Poll: 10 * time.Millisecond})
	next, err := hub.Subscribe(t.Context(), stream.FromNow)
	require.NoError(t, err)
	read(t, next, 1)
	_, err = registry.Exec(t.Context(), "select nextval(pg_get_serial_sequence('gatehouse.events', 'seq'))")
	require.NoError(t, err)
	id := uuid.New()
	require.NoError(t, registry.online(t.Context(), id))
	require.NoError(t, mark(t.Context(), store, id))

	got := read(t, next, 2)

	require.Equal(t, id, got[0].Item.WorkspaceID)
	require.Equal(t, stream.Streamed[admission.Event]{Position: 2}, got[1])
}

func TestStreamGoesOnAfterARestartOfPostgres(t *testing.T) {
	server := testenv.OwnPostgres(t, testenv.Options{})
	url, err := server.CreateDatabase(t.Context(), testenv.RegistryCurrent)
	require.NoError(t, err)
	registry, store := openRegistry(t, url), openPostgres(t, url)
	hub := start(t, store, stream.Options{})
	next, err := hub.Subscribe(t.Context(), stream.FromNow)
	require.NoError(t, err)
	read(t, next, 1)
	marking := func(n int) {
		for range n {
			id := uuid.New()
			require.NoError(t, registry.online(t.Context(), id))
			require.NoError(t, mark(t.Context(), store, id))
		}
	}
	marking(3)
	got := read(t, next, 3)
	for _, mode := range []testenv.StopMode{testenv.Immediate, testenv.Fast} {
		require.NoError(t, server.Stop(mode))
		require.NoError(t, server.Start(t.Context()))
		require.Eventually(t, func() bool {
			return registry.Ping(t.Context()) == nil && store.FactsReady(t.Context()) == nil && store.LedgerReady(t.Context(), true) == nil
		}, patience, 10*time.Millisecond)
		marking(3)
		got = append(got, read(t, next, 3)...)
	}

	all, err := store.EventsAfter(t.Context(), 0, 100)
	require.NoError(t, err)
	require.Len(t, all, 9)
	var want, have []uuid.UUID
	for i := range all {
		want = append(want, all[i].Event.ID)
	}
	for _, e := range got {
		if e.Item != nil {
			have = append(have, e.Item.ID)
		}
	}
	require.Equal(t, want, have)
}

func BenchmarkPostgresCommitToReader(b *testing.B) {
	for _, readers := range []int{1, 100} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			url := testenv.DatabaseURL(b, testenv.RegistryCurrent)
			registry, store := openRegistry(b, url), openPostgres(b, url)
			benchmark(b, start(b, store, stream.Options{}), readers, func(id uuid.UUID) error {
				return registry.online(context.Background(), id)
			}, store)
		})
	}
}
