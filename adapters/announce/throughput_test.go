package announce_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/announce"
	"github.com/molecule-ai/gatehouse/adapters/announce/queue"
	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
	"github.com/molecule-ai/gatehouse/internal/testenv"
)

// BenchmarkDeliveries measures how many announcements a second one process takes
// out of a full queue on a Postgres that syncs to disk, until all of them are
// noted as delivered. The first is the queue's library as it comes, for
// comparison. Run it with -benchtime=20000x.
func BenchmarkDeliveries(b *testing.B) {
	b.Run("river's defaults, nothing to do", func(b *testing.B) {
		pool := fullQueue(b)
		count := &atomic.Int64{}
		workers := river.NewWorkers()
		river.AddWorker(workers, river.WorkFunc(func(context.Context, *river.Job[sinks.Job]) error {
			count.Add(1)
			return nil
		}))
		config := &river.Config{
			Schema: "gatehouse", Workers: workers, Logger: quiet(),
			Queues: map[string]river.QueueConfig{benchmarkQueue: {MaxWorkers: 50}},
		}
		measureDeliveries(b, pool, count, func() (stop func()) {
			relay, err := river.NewClient(riverpgxv5.New(pool), config)
			require.NoError(b, err)
			require.NoError(b, relay.Start(context.WithoutCancel(b.Context())))
			return func() { require.NoError(b, relay.Stop(context.WithoutCancel(b.Context()))) }
		})
	})
	b.Run("nothing to do", func(b *testing.B) {
		count := &atomic.Int64{}
		benchmarkSink(b, count, &recorder{name: benchmarkSinkName, deliver: func(context.Context, sinks.Job) error {
			count.Add(1)
			return nil
		}})
	})
	b.Run("webhook", func(b *testing.B) {
		count := &atomic.Int64{}
		receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { count.Add(1) }))
		defer receiver.Close()
		sinks := openSinks(b, sinks.Dependencies{}, announce.SinkConfig{Name: benchmarkSinkName, Settings: sinks.Webhook{
			URL: sinks.Secret(receiver.URL), Secrets: []sinks.Secret{testSecret}, AllowPrivate: true,
		}})
		benchmarkSink(b, count, sinks...)
	})
	b.Run("redis", func(b *testing.B) {
		count := &atomic.Int64{}
		sinks := openSinks(b, sinks.Dependencies{}, announce.SinkConfig{
			Name: benchmarkSinkName, Settings: sinks.Redis{URL: sinks.Secret(testenv.RedisURL(b))},
		})
		benchmarkSink(b, count, &counting{Sink: sinks[0], count: count})
	})
	b.Run("nats", func(b *testing.B) {
		count := &atomic.Int64{}
		server := startNATS(b)
		server.addStream(b, "gatehouse.events")
		sinks := openSinks(b, sinks.Dependencies{}, announce.SinkConfig{Name: benchmarkSinkName, Settings: server.settings()})
		benchmarkSink(b, count, &counting{Sink: sinks[0], count: count})
	})
}

const (
	benchmarkSinkName = "bench"
	benchmarkQueue    = "announcements_bench"
)

type counting struct {
	sinks.Sink
	count *atomic.Int64
}

func (c *counting) Deliver(ctx context.Context, job sinks.Job) error {
	err := c.Sink.Deliver(ctx, job)
	if err == nil {
		c.count.Add(1)
	}
	return err
}

func benchmarkSink(b *testing.B, count *atomic.Int64, sinks ...sinks.Sink) {
	pool := fullQueue(b)
	measureDeliveries(b, pool, count, func() (stop func()) {
		relay, err := announce.NewRelay(queue.Postgres(pool), sinks, announce.Options{})
		require.NoError(b, err)
		relay.Start(context.WithoutCancel(b.Context()))
		return func() { require.NoError(b, relay.Stop(context.WithoutCancel(b.Context()))) }
	})
}

// fullQueue holds b.N announcements of as many workspaces.
func fullQueue(b *testing.B) *pgxpool.Pool {
	server := testenv.OwnPostgres(b, testenv.Options{Durable: true})
	address, err := server.CreateDatabase(b.Context(), testenv.Empty)
	require.NoError(b, err)
	config, err := pgxpool.ParseConfig(address)
	require.NoError(b, err)
	config.MaxConns = 16 // as the program has
	pool, err := pgxpool.NewWithConfig(b.Context(), config)
	require.NoError(b, err)
	b.Cleanup(pool.Close)
	_, err = pool.Exec(b.Context(), "create schema gatehouse")
	require.NoError(b, err)
	require.NoError(b, queue.Postgres(pool).Migrate(b.Context()))
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{Schema: "gatehouse", Logger: quiet()})
	require.NoError(b, err)
	jobs := make([]river.InsertManyParams, b.N)
	for i := range jobs {
		event := newEvent(b)
		message, err := json.Marshal(event)
		require.NoError(b, err)
		jobs[i] = river.InsertManyParams{
			Args: sinks.Job{
				EventID: event.ID, Sink: benchmarkSinkName, WorkspaceID: event.WorkspaceID, DecisionID: uuid.New(),
				Event: event.Event, Hook: "register", Code: event.Payload.Code, Sequence: 1,
				Message: string(message), CreatedAt: event.Timestamp,
			},
			InsertOpts: &river.InsertOpts{Queue: benchmarkQueue},
		}
	}
	_, err = client.InsertManyFast(b.Context(), jobs)
	require.NoError(b, err)
	_, err = pool.Exec(b.Context(), "analyze gatehouse.river_job")
	require.NoError(b, err)
	return pool
}

func measureDeliveries(b *testing.B, pool *pgxpool.Pool, count *atomic.Int64, start func() (stop func())) {
	b.ResetTimer()
	stop := start()
	defer stop()
	for count.Load() < int64(b.N) {
		time.Sleep(time.Millisecond)
	}
	stats := statsOf(newView(b, queue.Postgres(pool), nil))
	for {
		pending, _, err := stats(b.Context())
		require.NoError(b, err)
		if pending == 0 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
	b.ReportMetric(float64(count.Load())/float64(b.N), "attempts/delivery")
	b.StopTimer()
}
