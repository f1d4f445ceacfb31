package announce_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/announce"
	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
	"github.com/molecule-ai/gatehouse/internal/testenv"
)

// BenchmarkCommitToDelivery measures how long after its commit an event is at
// its sink, with an idle queue and databases that sync to disk: at the sink's
// door, and as a signed request at a webhook's receiver. ns/op is all of it, the
// transaction included.
func BenchmarkCommitToDelivery(b *testing.B) {
	b.Run("postgres", func(b *testing.B) {
		server := testenv.OwnPostgres(b, testenv.Options{Durable: true})
		address, err := server.CreateDatabase(b.Context(), testenv.Empty)
		require.NoError(b, err)
		commitToDelivery(b, postgresQueue(b, openPostgres(b, address)), arrivalSink)
	})
	b.Run("postgres_webhook", func(b *testing.B) {
		server := testenv.OwnPostgres(b, testenv.Options{Durable: true})
		address, err := server.CreateDatabase(b.Context(), testenv.Empty)
		require.NoError(b, err)
		commitToDelivery(b, postgresQueue(b, openPostgres(b, address)), arrivalWebhook)
	})
	b.Run("sqlite", func(b *testing.B) {
		commitToDelivery(b, sqliteQueue(b, openSQLite(b, filepath.Join(b.TempDir(), "gatehouse.db"))), arrivalSink)
	})
}

// arrivalSink tells when a sink is asked to deliver.
func arrivalSink(_ testing.TB, arrived chan<- time.Time) sinks.Sink {
	return &recorder{name: sinks.Registry, deliver: func(context.Context, sinks.Job) error {
		arrived <- time.Now()
		return nil
	}}
}

// arrivalWebhook tells when a receiver has a webhook's request.
func arrivalWebhook(t testing.TB, arrived chan<- time.Time) sinks.Sink {
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrived <- time.Now() }))
	t.Cleanup(receiver.Close)
	return openSinks(t, sinks.Dependencies{}, announce.SinkConfig{Name: sinks.Registry, Settings: sinks.Webhook{
		URL: sinks.Secret(receiver.URL), Secrets: []sinks.Secret{testSecret}, AllowPrivate: true,
	}})[0]
}

func commitToDelivery(b *testing.B, q *testQueue, sink func(testing.TB, chan<- time.Time) sinks.Sink) {
	arrived := make(chan time.Time)
	stop := q.start(b, announce.Options{Poll: time.Hour}, sink(b, arrived))
	defer stop()
	q.announce(b, newEvent(b))
	<-arrived

	var delays, transactions []time.Duration
	for b.Loop() {
		// An event that comes right after another waits for the next fetch, and one
		// that comes at a random time meets SQLite's poll at a random time.
		b.StopTimer()
		time.Sleep(20*time.Millisecond + rand.N(50*time.Millisecond))
		b.StartTimer()
		begun := time.Now()
		q.announce(b, newEvent(b))
		committed := time.Now()
		delays = append(delays, max(0, (<-arrived).Sub(committed)))
		transactions = append(transactions, committed.Sub(begun))
	}
	slices.Sort(delays)
	slices.Sort(transactions)
	b.ReportMetric(milliseconds(delays, 50), "p50-ms")
	b.ReportMetric(milliseconds(delays, 99), "p99-ms")
	b.ReportMetric(milliseconds(transactions, 50), "tx-p50-ms")
}

func milliseconds(sorted []time.Duration, percent int) float64 {
	return float64(sorted[(len(sorted)-1)*percent/100]) / float64(time.Millisecond)
}
