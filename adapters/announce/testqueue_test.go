package announce_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/molecule-ai/gatehouse/adapters/announce"
	"github.com/molecule-ai/gatehouse/adapters/announce/operator"
	"github.com/molecule-ai/gatehouse/adapters/announce/queue"
	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// testQueue is a migrated queue on either database, as tests use it.
type testQueue struct {
	table string
	// announce commits each event in a transaction of its own.
	announce func(t testing.TB, events ...admission.Event)
	rollBack func(t testing.TB, event admission.Event)
	newRelay func(sinks []sinks.Sink, options announce.Options) (*announce.Relay, error)
	// subscribe has events go to these sinks only.
	subscribe func(t testing.TB, sinks ...announce.SinkConfig)
	view      func(t testing.TB, sinks ...string) *operator.Announcements
	stats     func(ctx context.Context) (int, time.Duration, error)
	exec      func(t testing.TB, statement string)
	text      func(t testing.TB, query string) string
}

// onEachDatabase runs one statement about behaviour on Postgres and on SQLite. Most
// of these tests wait most of the time, so they do it side by side.
func onEachDatabase(t *testing.T, test func(t *testing.T, q *testQueue)) {
	t.Parallel()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, postgresQueue(t, openPostgres(t, testenv.DatabaseURL(t, testenv.Empty))))
	})
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, sqliteQueue(t, openSQLite(t, filepath.Join(t.TempDir(), "gatehouse.db"))))
	})
}

func openPostgres(t testing.TB, address string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), address)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	_, err = pool.Exec(t.Context(), "create schema if not exists gatehouse")
	require.NoError(t, err)
	return pool
}

func openSQLite(t testing.TB, path string) *sql.DB {
	t.Helper()
	// Only benchmarks wait for the disk, as with Postgres.
	sync := "OFF"
	if _, benchmark := t.(*testing.B); benchmark {
		sync = "FULL"
	}
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(5000)&_pragma=synchronous("+sync+")")
	require.NoError(t, err)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// sinkNames are those that events are announced to.
func postgresQueue(t testing.TB, pool *pgxpool.Pool, sinkNames ...string) *testQueue {
	t.Helper()
	database := queue.Postgres(pool)
	require.NoError(t, database.Migrate(t.Context()))
	outbox, err := announce.NewPostgresOutbox(named(orRegistry(sinkNames)...))
	require.NoError(t, err)
	begin := func(t testing.TB, event admission.Event) pgx.Tx {
		tx, err := pool.Begin(t.Context())
		require.NoError(t, err)
		require.NoError(t, outbox.Announce(t.Context(), tx, event))
		return tx
	}
	return &testQueue{
		table: "gatehouse.river_job",
		announce: func(t testing.TB, events ...admission.Event) {
			for _, event := range events {
				require.NoError(t, begin(t, event).Commit(t.Context()))
				require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error { return outbox.Wake(t.Context(), tx) }))
			}
		},
		rollBack: func(t testing.TB, event admission.Event) {
			require.NoError(t, begin(t, event).Rollback(t.Context()))
		},
		newRelay: func(sinks []sinks.Sink, options announce.Options) (*announce.Relay, error) {
			return announce.NewRelay(database, sinks, options)
		},
		subscribe: func(t testing.TB, sinks ...announce.SinkConfig) {
			var err error
			outbox, err = announce.NewPostgresOutbox(sinks)
			require.NoError(t, err)
		},
		view:  func(t testing.TB, sinks ...string) *operator.Announcements { return newView(t, database, sinks) },
		stats: statsOf(newView(t, database, nil)),
		exec: func(t testing.TB, statement string) {
			_, err := pool.Exec(t.Context(), statement)
			require.NoError(t, err)
		},
		text: func(t testing.TB, query string) (text string) {
			require.NoError(t, pool.QueryRow(t.Context(), query).Scan(&text))
			return text
		},
	}
}

func sqliteQueue(t testing.TB, db *sql.DB, sinkNames ...string) *testQueue {
	t.Helper()
	database := queue.SQLite(db)
	require.NoError(t, database.Migrate(t.Context()))
	outbox, err := announce.NewSQLiteOutbox(named(orRegistry(sinkNames)...))
	require.NoError(t, err)
	begin := func(t testing.TB, event admission.Event) *sql.Tx {
		tx, err := db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		require.NoError(t, outbox.Announce(t.Context(), tx, event))
		return tx
	}
	return &testQueue{
		table: "river_job",
		announce: func(t testing.TB, events ...admission.Event) {
			for _, event := range events {
				require.NoError(t, begin(t, event).Commit())
			}
		},
		rollBack: func(t testing.TB, event admission.Event) {
			require.NoError(t, begin(t, event).Rollback())
		},
		newRelay: func(sinks []sinks.Sink, options announce.Options) (*announce.Relay, error) {
			return announce.NewRelay(database, sinks, options)
		},
		subscribe: func(t testing.TB, sinks ...announce.SinkConfig) {
			var err error
			outbox, err = announce.NewSQLiteOutbox(sinks)
			require.NoError(t, err)
		},
		view:  func(t testing.TB, sinks ...string) *operator.Announcements { return newView(t, database, sinks) },
		stats: statsOf(newView(t, database, nil)),
		exec: func(t testing.TB, statement string) {
			_, err := db.ExecContext(t.Context(), statement)
			require.NoError(t, err)
		},
		text: func(t testing.TB, query string) (text string) {
			require.NoError(t, db.QueryRowContext(t.Context(), query).Scan(&text))
			return text
		},
	}
}

func newView[TTx any](t testing.TB, database *queue.Database[TTx], sinks []string) *operator.Announcements {
	t.Helper()
	view, err := operator.NewAnnouncements(database, sinks)
	require.NoError(t, err)
	return view
}

// statsOf gives how many announcements are neither delivered nor dead, and how long ago the oldest was made.
func statsOf(view *operator.Announcements) func(ctx context.Context) (int, time.Duration, error) {
	return func(ctx context.Context) (pending int, oldest time.Duration, err error) {
		states, err := view.Stats(ctx)
		for _, state := range states {
			pending += state.Pending
			oldest = max(oldest, time.Duration(state.OldestSeconds*float64(time.Second)))
		}
		return pending, oldest, err
	}
}

func orRegistry(names []string) []string {
	if len(names) == 0 {
		return []string{sinks.Registry}
	}
	return names
}

// start works the queue until the test ends, or until the function that it
// returns is called.
func (q *testQueue) start(t testing.TB, options announce.Options, sinks ...sinks.Sink) (stop func()) {
	t.Helper()
	relay, err := q.newRelay(sinks, options)
	require.NoError(t, err)
	relay.Start(context.WithoutCancel(t.Context()))
	stop = func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		require.NoError(t, relay.Stop(ctx))
	}
	t.Cleanup(stop)
	return stop
}

// requireEmpty waits until nothing is pending any more.
func (q *testQueue) requireEmpty(t testing.TB) {
	t.Helper()
	require.Eventually(t, func() bool {
		pending, oldest, err := q.stats(t.Context())
		return err == nil && pending == 0 && oldest == 0
	}, patience, tick)
}

func newEvents(t testing.TB, count int) []admission.Event {
	t.Helper()
	events := make([]admission.Event, count)
	for i := range events {
		id, err := uuid.NewV7()
		require.NoError(t, err)
		events[i] = admission.Event{
			ID: id, DecisionID: uuid.New(), Hook: "register", Sequence: 7,
			Event: admission.ProvisionFailed, WorkspaceID: uuid.New(),
			Timestamp: time.Date(2026, 4, 5, 6, 7, 8, 123456000, time.UTC),
			Payload: admission.EventPayload{
				Error:  `no <MODEL> secret & "no" model`,
				Code:   "PLATFORM_AGENT_IDENTITY_GATE",
				Reason: "model_missing",
			},
		}
	}
	return events
}

func newEvent(t testing.TB) admission.Event { return newEvents(t, 1)[0] }
