package announce_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/announce"
	"github.com/molecule-ai/gatehouse/adapters/announce/queue"
	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/server/admission"
)

func TestRedisPublishesCommittedEventAndDeletesLivenessKeys(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, q *testQueue) {
		address := testenv.RedisURL(t)
		event, heard, conn := newEvent(t), subscribe(t, address), dialRedis(t, address)
		defer func() { _ = conn.Close() }()
		setLivenessKeys(t, conn, event)
		count := &results{}
		q.start(t, announce.Options{Observe: count.observe}, newRedis(t, address, &workspaces{}))

		q.announce(t, event)

		heard.requireAll(t, event)
		require.Equal(t, []string{`{"event":"WORKSPACE_PROVISION_FAILED","workspace_id":"` + event.WorkspaceID.String() +
			`","timestamp":"2026-04-05T06:07:08.123456Z","payload":{"error":"no <MODEL> secret & \"no\" model",` +
			`"code":"PLATFORM_AGENT_IDENTITY_GATE","reason":"model_missing"}}`}, heard.heard(event))
		require.Zero(t, livenessKeys(t, conn, event))
		q.requireEmpty(t)
		require.Equal(t, 1, count.of(sinks.Registry, announce.Delivered))
	})
}

func setLivenessKeys(t testing.TB, conn redis.Conn, event admission.Event) {
	t.Helper()
	for _, suffix := range []string{"", ":url", ":internal_url"} {
		_, err := conn.Do("SET", "ws:"+event.WorkspaceID.String()+suffix, "online")
		require.NoError(t, err)
	}
	require.Equal(t, 3, livenessKeys(t, conn, event))
}

func livenessKeys(t testing.TB, conn redis.Conn, event admission.Event) int {
	t.Helper()
	key := "ws:" + event.WorkspaceID.String()
	count, err := redis.Int(conn.Do("EXISTS", key, key+":url", key+":internal_url"))
	require.NoError(t, err)
	return count
}

func TestOutboxDropsRolledBackEvent(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, q *testQueue) {
		sink := &recorder{name: sinks.Registry}
		q.start(t, announce.Options{}, sink)
		events := newEvents(t, 2)

		q.rollBack(t, events[0])
		q.announce(t, events[1])

		require.Eventually(t, func() bool { return sink.hasAll(events[1:]) }, patience, tick)
		q.requireEmpty(t)
		require.Equal(t, []int{0, 1}, sink.times(events))
		require.Equal(t, "1", q.text(t, "select cast(count(*) as text) from "+q.table))
	})
}

func TestRelayWakesOnEveryCommit(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, q *testQueue) {
		sink, events := &recorder{name: sinks.Registry}, newEvents(t, 20)
		q.start(t, announce.Options{Poll: time.Hour}, sink)
		for _, event := range events {
			q.rollBack(t, newEvent(t))
			q.announce(t, event)
			require.Eventually(t, func() bool { return sink.hasAll([]admission.Event{event}) }, patience, time.Millisecond)
		}
	})
}

func TestRedisKeepsLivenessKeysOfRecoveredWorkspace(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, q *testQueue) {
		address := testenv.RedisURL(t)
		event, heard, conn := newEvent(t), subscribe(t, address), dialRedis(t, address)
		defer func() { _ = conn.Close() }()
		setLivenessKeys(t, conn, event)
		store := &workspaces{}
		store.recovered.Store(event.WorkspaceID, true)
		q.start(t, announce.Options{}, newRedis(t, address, store))

		q.announce(t, event)

		heard.requireAll(t, event)
		require.Equal(t, 3, livenessKeys(t, conn, event))
	})
}

func TestRelayDeliversEverythingOnceRedisIsBack(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, q *testQueue) {
		server, store, count, events := testenv.OwnRedis(t), &workspaces{}, &results{}, newEvents(t, 20)
		options := announce.Options{Retry: fastRetry, Poll: 20 * time.Millisecond, Observe: count.observe}
		q.start(t, options, newRedis(t, server.URL(), store))

		require.NoError(t, server.Stop())
		q.announce(t, events...)
		require.Eventually(t, func() bool {
			return count.of(sinks.Registry, announce.Retried) > 2*len(events)
		}, patience, tick)
		pending, oldest, err := q.stats(t.Context())
		require.NoError(t, err)
		require.Equal(t, len(events), pending)
		require.Positive(t, oldest)

		// Redis keeps nothing for who is not there, so the messages are held back
		// until the subscriber is.
		store.away.Store(true)
		require.Eventually(t, func() bool { return store.hasTurnedOff(events) }, patience, tick)
		require.NoError(t, server.Start(t.Context()))
		heard := subscribe(t, server.URL())
		store.away.Store(false)

		heard.requireAll(t, events...)
		q.requireEmpty(t)
		require.Equal(t, len(events), count.of(sinks.Registry, announce.Delivered))
	})
}

func TestRelayDeliversWhatAStoppedOneLeft(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, q *testQueue) {
		sink, events := &recorder{name: sinks.Registry}, newEvents(t, 5)
		stop := q.start(t, announce.Options{}, sink)
		stop()

		q.announce(t, events...)
		require.Equal(t, []int{0, 0, 0, 0, 0}, sink.times(events))

		q.start(t, announce.Options{}, sink)
		require.Eventually(t, func() bool { return sink.hasAll(events) }, patience, tick)
		require.Equal(t, []int{1, 1, 1, 1, 1}, sink.times(events))
	})
}

func TestRelayStopIsNoFailureOfADelivery(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, q *testQueue) {
		event, count, began := newEvent(t), &results{}, make(chan struct{})
		hanging := &recorder{name: sinks.Registry, deliver: func(ctx context.Context, _ sinks.Job) error {
			close(began)
			<-ctx.Done()
			return errors.New("cut off")
		}}
		stop := q.start(t, announce.Options{Observe: count.observe, Drain: tick}, hanging)
		q.announce(t, event)
		<-began
		stop()
		require.Zero(t, count.of(sinks.Registry, announce.Retried))

		sink := &recorder{name: sinks.Registry}
		q.start(t, announce.Options{}, sink)
		require.Eventually(t, func() bool { return sink.hasAll([]admission.Event{event}) }, patience, tick)
	})
}

func TestRedisSubscribersHearEachEventOnce(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, q *testQueue) {
		address, events := testenv.RedisURL(t), newEvents(t, 100)
		subscribers := []*subscriber{subscribe(t, address), subscribe(t, address)}
		q.start(t, announce.Options{}, newRedis(t, address, &workspaces{}))

		q.announce(t, events...)

		q.requireEmpty(t)
		for _, heard := range subscribers {
			heard.requireAll(t, events...)
			for _, event := range events {
				require.Len(t, heard.heard(event), 1)
			}
		}
	})
}

func TestRelayCountsAndLogsADeadAnnouncementOnce(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, q *testQueue) {
		event, count, log := newEvent(t), &results{}, &logBook{}
		sink := &recorder{name: sinks.Registry, deliver: func(context.Context, sinks.Job) error {
			return errors.New("nobody is there")
		}}
		options := announce.Options{
			Log: log.logger(slog.LevelInfo), Observe: count.observe, Poll: 20 * time.Millisecond,
			Retry: announce.Retry{First: 10 * time.Millisecond, Limit: 20 * time.Millisecond, For: 300 * time.Millisecond},
		}
		q.start(t, options, sink)

		q.announce(t, event)

		q.requireEmpty(t)
		require.Equal(t, 1, count.of(sinks.Registry, announce.Dead))
		dead := log.lines(t, "announcement is dead")
		require.Len(t, dead, 1)
		require.Equal(t, "ERROR", dead[0]["level"])
		require.Equal(t, event.ID.String(), dead[0]["event_id"])
		require.Equal(t, sinks.Registry, dead[0]["sink"])
		require.Equal(t, "nobody is there", dead[0]["error"])

		failed := log.lines(t, "announcement was not delivered")
		require.NotEmpty(t, failed)
		require.Len(t, failed, count.of(sinks.Registry, announce.Retried))
		for i, line := range failed {
			require.Equal(t, "WARN", line["level"])
			require.InDelta(t, i+1, line["attempt"], 0)
		}
		require.Equal(t, len(failed)+1, countLines(log), "no other line")
		require.Equal(t, "cancelled", q.text(t, "select state from "+q.table))
	})
}

func countLines(log *logBook) int {
	return len(slices.Collect(func(yield func(struct{}) bool) {
		for _, char := range log.String() {
			if char == '\n' && !yield(struct{}{}) {
				return
			}
		}
	}))
}

func TestRelayRetriesAPanickingSink(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, q *testQueue) {
		events, panicked := newEvents(t, 1), make(chan struct{}, 1)
		sink := &recorder{name: sinks.Registry, deliver: func(context.Context, sinks.Job) error {
			select {
			case panicked <- struct{}{}:
				panic("a mistake")
			default:
				return nil
			}
		}}
		q.start(t, announce.Options{Retry: fastRetry, Poll: 20 * time.Millisecond}, sink)

		q.announce(t, events...)

		require.Eventually(t, func() bool { return sink.hasAll(events) }, patience, tick)
	})
}

func TestRelayKeepsRowsSmall(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, q *testQueue) {
		count := &results{}
		sink := &recorder{name: sinks.Registry, deliver: func(context.Context, sinks.Job) error {
			return errors.New("no")
		}}
		options := announce.Options{
			Observe: count.observe, Poll: tick,
			Retry: announce.Retry{First: time.Millisecond, Limit: time.Millisecond},
		}
		q.start(t, options, sink)

		q.announce(t, newEvent(t))

		require.Eventually(t, func() bool { return count.of(sinks.Registry, announce.Retried) > 15 }, patience, tick)
		require.Equal(t, "none", q.text(t, "select case when errors is null then 'none' else 'some' end from "+q.table))
	})
}

func TestRelayServesOtherSinksWhileOneHangs(t *testing.T) {
	t.Parallel()
	pool := openPostgres(t, testenv.DatabaseURL(t, testenv.Empty))
	q, events := postgresQueue(t, pool, "fast", "slow"), newEvents(t, 100)
	slow := &recorder{name: "slow", deliver: func(ctx context.Context, _ sinks.Job) error {
		<-ctx.Done()
		return ctx.Err()
	}}
	fast := &recorder{name: "fast"}
	q.start(t, announce.Options{Drain: tick}, slow, fast)

	q.announce(t, events...)

	require.Eventually(t, func() bool { return fast.hasAll(events) }, 5*time.Second, tick)
	require.False(t, slow.hasAll(events))
}

func TestRelayServesOtherWorkspacesDuringAFlood(t *testing.T) {
	t.Parallel()
	pool := openPostgres(t, testenv.DatabaseURL(t, testenv.Empty))
	q, flood, others := postgresQueue(t, pool), newEvents(t, 300), newEvents(t, 30)
	var now, most atomic.Int64
	sink := &recorder{name: sinks.Registry, deliver: func(ctx context.Context, job sinks.Job) error {
		if job.WorkspaceID != flood[0].WorkspaceID {
			return nil
		}
		most.Store(max(most.Load(), now.Add(1)))
		defer now.Add(-1)
		<-ctx.Done()
		return ctx.Err()
	}}
	for i := range flood {
		flood[i].WorkspaceID = flood[0].WorkspaceID
	}
	q.announce(t, flood...)
	q.start(t, announce.Options{Drain: tick}, sink)
	require.Eventually(t, func() bool { return now.Load() > 0 }, patience, tick)

	q.announce(t, others...)

	require.Eventually(t, func() bool { return sink.hasAll(others) }, 5*time.Second, tick)
	require.LessOrEqual(t, most.Load(), int64(4))
}

func TestOutboxWithoutSinksAnnouncesNothing(t *testing.T) {
	pool := openPostgres(t, testenv.DatabaseURL(t, testenv.Empty))
	q := postgresQueue(t, pool)
	outbox, err := announce.NewPostgresOutbox(nil)
	require.NoError(t, err)
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	require.NoError(t, outbox.Announce(t.Context(), tx, newEvent(t)))
	require.NoError(t, tx.Commit(t.Context()))
	q.start(t, announce.Options{})
	q.requireEmpty(t)
}

func TestSinkNamesAreChecked(t *testing.T) {
	for _, names := range [][]string{{""}, {"Ops"}, {"a b"}, {"-a"}, {"a", "a"}, {string(make([]byte, 60))}} {
		_, err := announce.NewPostgresOutbox(named(names...))
		require.Error(t, err)
		sinks := make([]sinks.Sink, len(names))
		for i, name := range names {
			sinks[i] = &recorder{name: name}
		}
		_, err = announce.NewRelay(queue.SQLite(nil), sinks, announce.Options{})
		require.Error(t, err)
	}
}
