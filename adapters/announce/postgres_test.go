package announce_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/announce"
	"github.com/molecule-ai/gatehouse/adapters/announce/queue"
	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
	"github.com/molecule-ai/gatehouse/internal/testenv"
)

func TestRelaysShareTheWork(t *testing.T) {
	t.Parallel()
	address := testenv.DatabaseURL(t, testenv.Empty)
	sink, events := &recorder{name: sinks.Registry}, newEvents(t, 200)
	first := postgresQueue(t, openPostgres(t, address))
	second := postgresQueue(t, openPostgres(t, address))
	first.start(t, announce.Options{}, sink)
	second.start(t, announce.Options{}, sink)

	var announcers sync.WaitGroup
	for part := range slices.Chunk(events, 20) {
		announcers.Go(func() { first.announce(t, part...) })
	}
	announcers.Wait()

	require.Eventually(t, func() bool { return sink.hasAll(events) }, patience, tick)
	first.requireEmpty(t)
	for _, times := range sink.times(events) {
		require.Equal(t, 1, times)
	}
}

func TestRelayStartsWithoutADatabaseAndOutlivesItsRestart(t *testing.T) {
	t.Parallel()
	server := testenv.OwnPostgres(t, testenv.Options{})
	address, err := server.CreateDatabase(t.Context(), testenv.Empty)
	require.NoError(t, err)
	q := postgresQueue(t, openPostgres(t, address))
	sink, log, events := &recorder{name: sinks.Registry}, &logBook{}, newEvents(t, 30)

	require.NoError(t, server.Stop(testenv.Fast))
	stop := q.start(t, announce.Options{Log: log.logger(slog.LevelInfo)}, sink)
	require.Eventually(t, func() bool {
		return len(log.lines(t, "announcements wait for the database")) > 0
	}, patience, tick)
	require.NoError(t, server.Start(t.Context()))
	q.announce(t, events[:10]...)
	require.Eventually(t, func() bool { return sink.hasAll(events[:10]) }, patience, tick)

	require.NoError(t, server.Stop(testenv.Immediate))
	require.NoError(t, server.Start(t.Context()))
	require.Eventually(t, func() bool { _, _, err := q.stats(t.Context()); return err == nil }, patience, tick)
	q.announce(t, events[10:]...)
	require.Eventually(t, func() bool { return sink.hasAll(events) }, patience, tick)
	q.requireEmpty(t)
	require.NoError(t, server.Stop(testenv.Fast))
	stop()
	require.Empty(t, strings.Join(repeated(t, log), "\n"), "River said something twice")
}

// repeated gives River's messages that are in the log more than once.
func repeated(t *testing.T, log *logBook) []string {
	t.Helper()
	var messages, twice []string
	for line := range strings.Lines(log.String()) {
		if !strings.Contains(line, `"component":"river"`) {
			continue
		}
		_, rest, _ := strings.Cut(line, `"msg":"`)
		message, _, _ := strings.Cut(rest, `"`)
		if slices.Contains(messages, message) {
			twice = append(twice, message)
		}
		messages = append(messages, message)
	}
	return twice
}

func TestRelayTakesOverTheJobOfAKilledProcess(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, q *testQueue) {
		sink, events := &recorder{name: sinks.Registry}, newEvents(t, 1)
		q.announce(t, events...)
		// What a process leaves that was killed a minute ago, between commit and delivery.
		q.exec(t, "update "+q.table+" set state = 'running', attempt = 1, attempted_at = '"+
			time.Now().UTC().Add(-time.Minute).Format("2006-01-02 15:04:05.000")+"'")

		q.start(t, announce.Options{}, sink)

		require.Eventually(t, func() bool { return sink.hasAll(events) }, patience, tick)
		require.Equal(t, []int{1}, sink.times(events))
	})
}

func TestMigrateConcurrently(t *testing.T) {
	t.Parallel()
	type database interface {
		Migrate(ctx context.Context) error
		Pending(ctx context.Context) (bool, error)
	}
	concurrently := func(t *testing.T, open func() database) {
		pending, err := open().Pending(t.Context())
		require.NoError(t, err)
		require.True(t, pending)

		errs := make([]error, 6)
		var migrations sync.WaitGroup
		for i := range errs {
			processes := open()
			migrations.Go(func() { errs[i] = processes.Migrate(t.Context()) })
		}
		migrations.Wait()
		for _, err := range errs {
			require.NoError(t, err)
		}
		pending, err = open().Pending(t.Context())
		require.NoError(t, err)
		require.False(t, pending)
	}
	t.Run("postgres", func(t *testing.T) {
		address := testenv.DatabaseURL(t, testenv.Empty)
		concurrently(t, func() database { return queue.Postgres(openPostgres(t, address)) })
	})
	t.Run("sqlite", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "gatehouse.db")
		concurrently(t, func() database { return queue.SQLite(openSQLite(t, path)) })
	})
}

// countedTx counts what a transaction is asked.
type countedTx struct {
	pgx.Tx
	statements, others int
}

func (c *countedTx) Query(ctx context.Context, sql string, arguments ...any) (pgx.Rows, error) {
	c.statements++
	return c.Tx.Query(ctx, sql, arguments...)
}

func (c *countedTx) Exec(ctx context.Context, sql string, arguments ...any) (pgconn.CommandTag, error) {
	c.statements++
	return c.Tx.Exec(ctx, sql, arguments...)
}

func (c *countedTx) Begin(ctx context.Context) (pgx.Tx, error) {
	c.others++
	return c.Tx.Begin(ctx)
}

func (c *countedTx) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	c.others++
	return c.Tx.SendBatch(ctx, batch)
}

// The store sends this statement together with its own and with the commit, so there can be no second one.
func TestOutboxAnnouncesInOneStatement(t *testing.T) {
	t.Parallel()
	pool := openPostgres(t, testenv.DatabaseURL(t, testenv.Empty))
	postgresQueue(t, pool)
	outbox, err := announce.NewPostgresOutbox(named("one", "two", "three"))
	require.NoError(t, err)
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, tx.Rollback(t.Context())) }()
	counted := &countedTx{Tx: tx}

	require.NoError(t, outbox.Announce(t.Context(), counted, newEvents(t, 40)...))

	require.Equal(t, 1, counted.statements)
	require.Zero(t, counted.others)
	var jobs int
	require.NoError(t, tx.QueryRow(t.Context(), "select count(*) from gatehouse.river_job").Scan(&jobs))
	require.Equal(t, 120, jobs)
}

func TestMigrateDropsIndexesThatNobodyReads(t *testing.T) {
	t.Parallel()
	pool := openPostgres(t, testenv.DatabaseURL(t, testenv.Empty))
	postgresQueue(t, pool)
	var indexes []string
	require.NoError(t, pool.QueryRow(t.Context(),
		"select array_agg(indexname::text) from pg_indexes where schemaname = 'gatehouse' and indexdef like '%gin%'").Scan(&indexes))
	require.Empty(t, indexes)
}

func TestRelayServesUnderARoleThatMayNotChangeTables(t *testing.T) {
	t.Parallel()
	server := testenv.OwnPostgres(t, testenv.Options{})
	address, err := server.CreateDatabase(t.Context(), testenv.Empty)
	require.NoError(t, err)
	owner := openPostgres(t, address)
	postgresQueue(t, owner)
	_, err = owner.Exec(t.Context(), `
create role server login password 'server';
grant usage on schema gatehouse to server;
grant select on gatehouse.river_migration to server;
grant select, insert, update, delete on gatehouse.river_job, gatehouse.river_leader, gatehouse.river_queue to server;
grant usage on sequence gatehouse.river_job_id_seq to server;`)
	require.NoError(t, err)

	config := owner.Config().Copy()
	restricted := strings.Replace(address, "postgres:"+config.ConnConfig.Password+"@", "server:server@", 1)
	pool := openRestricted(t, restricted)
	pending, err := queue.Postgres(pool).Pending(t.Context())
	require.NoError(t, err)
	require.False(t, pending)

	log, sink, events := &logBook{}, &recorder{name: sinks.Registry}, newEvents(t, 3)
	q := postgresQueue(t, pool)
	q.start(t, announce.Options{Log: log.logger(slog.LevelInfo)}, sink)
	q.announce(t, events...)
	require.Eventually(t, func() bool { return sink.hasAll(events) }, patience, tick)
	q.requireEmpty(t)
	require.Empty(t, log.String())
}

func openRestricted(t *testing.T, address string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), address)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}
