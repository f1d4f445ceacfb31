package announce_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/announce"
	"github.com/molecule-ai/gatehouse/adapters/announce/operator"
	"github.com/molecule-ai/gatehouse/adapters/announce/queue"
	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// failing is a sink that does, until it is mended.
type failing struct {
	recorder
	mended   atomic.Bool
	attempts atomic.Int64
}

func newFailing(name string) *failing {
	f := &failing{recorder: recorder{name: name}}
	f.deliver = func(context.Context, sinks.Job) error {
		f.attempts.Add(1)
		if f.mended.Load() {
			return nil
		}
		return errors.New("nobody is there")
	}
	return f
}

// dying gives announcements up after a few attempts.
var dying = announce.Options{Poll: 5 * tick, Retry: announce.Retry{First: tick, Limit: tick, For: 20 * tick}}

func list(t *testing.T, view *operator.Announcements, filter operator.Filter) []operator.Announcement {
	t.Helper()
	page, next, err := view.List(t.Context(), filter)
	require.NoError(t, err)
	require.Empty(t, next)
	return page
}

func TestOperatorRetriesADeadAnnouncement(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, q *testQueue) {
		sink, view, event := newFailing("registry"), q.view(t, "registry"), newEvent(t)
		q.start(t, dying, sink)
		q.announce(t, event)
		q.requireEmpty(t)

		dead := list(t, view, operator.Filter{State: operator.StateDead, Sink: "registry"})
		require.Len(t, dead, 1)
		got := dead[0]
		require.Equal(t, event.ID, got.EventID)
		require.Equal(t, event.DecisionID, got.DecisionID)
		require.Equal(t, event.WorkspaceID, got.WorkspaceID)
		require.Equal(t, event.Sequence, got.Sequence)
		require.Equal(t, admission.ProvisionFailed, got.Event)
		require.Equal(t, "registry", got.Sink)
		require.Equal(t, "nobody is there", got.LastError)
		require.EqualValues(t, sink.attempts.Load(), got.Failures)
		require.WithinDuration(t, time.Now(), got.CreatedAt, time.Minute)
		require.WithinDuration(t, time.Now(), got.FinishedAt, time.Minute)
		require.Zero(t, got.NextAttempt)
		require.Contains(t, string(got.Message), `"event":"WORKSPACE_PROVISION_FAILED"`)

		// It gets all of its time again, and dies again.
		before := sink.attempts.Load()
		require.NoError(t, view.Retry(t.Context(), got.ID))
		q.requireEmpty(t)
		require.Greater(t, sink.attempts.Load(), before+1)
		require.Len(t, list(t, view, operator.Filter{State: operator.StateDead}), 1)

		sink.mended.Store(true)
		require.NoError(t, view.Retry(t.Context(), got.ID))
		require.Eventually(t, func() bool { return sink.hasAll([]admission.Event{event}) }, patience, tick)
		q.requireEmpty(t)
		delivered := list(t, view, operator.Filter{State: operator.StateDelivered})
		require.Len(t, delivered, 1)
		require.Equal(t, got.ID, delivered[0].ID)
		require.Empty(t, list(t, view, operator.Filter{State: operator.StateDead}))
		require.ErrorIs(t, view.Retry(t.Context(), got.ID), operator.ErrAlreadyDelivered)
		require.ErrorIs(t, view.Discard(t.Context(), got.ID), operator.ErrAlreadyDelivered)
		require.Equal(t, []int{1}, sink.times([]admission.Event{event}))
	})
}

// As it is with a process that connects just after the sink was disabled.
func TestRelayAsksWhetherASinkIsDisabled(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, q *testQueue) {
		sink, view, events := newFailing("registry"), q.view(t, "registry"), newEvents(t, 3)
		sink.mended.Store(true)
		q.start(t, announce.Options{}, sink)
		q.announce(t, events[0])
		require.Eventually(t, func() bool { return sink.hasAll(events[:1]) }, patience, tick)
		queues := strings.Replace(q.table, "river_job", "river_queue", 1)
		q.exec(t, "update "+queues+" set paused_at = current_timestamp") // and tells nobody

		count := func(condition string) string {
			return q.text(t, "select count(*) || '' from "+q.table+" where state in ('available', 'scheduled', 'running') and "+condition)
		}
		require.Eventually(t, func() bool { // what is announced within the second may still go out
			q.announce(t, newEvents(t, 1)...)
			return count("scheduled_at > created_at") != "0"
		}, patience, 100*time.Millisecond)
		before := sink.attempts.Load()
		q.announce(t, events[1:]...)
		require.Eventually(t, func() bool { return count("not scheduled_at > created_at") == "0" }, patience, tick, "all have come up, and are put off")
		require.Equal(t, before, sink.attempts.Load())

		require.NoError(t, view.Enable(t.Context(), "registry"))
		require.Eventually(t, func() bool { return sink.hasAll(events) }, patience, tick)
		q.requireEmpty(t)
	})
}

func TestOperatorRetriesOrDiscardsAllOfASink(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, q *testQueue) {
		first, second := newFailing("first"), newFailing("second")
		q.subscribe(t, announce.SinkConfig{Name: "first"}, announce.SinkConfig{Name: "second"})
		view, events := q.view(t, "first"), newEvents(t, 8)
		q.start(t, dying, first, second)
		q.announce(t, events...)
		q.requireEmpty(t)

		states, err := view.Sinks(t.Context())
		require.NoError(t, err)
		require.Equal(t, []queue.SinkState{
			{Name: "first", Configured: true, Dead: 8}, {Name: "second", Dead: 8},
		}, states)
		stats, err := view.Stats(t.Context())
		require.NoError(t, err)
		require.Equal(t, []queue.SinkState{{Name: "first", Configured: true, Dead: 8}, {Name: queue.OtherSinks, Dead: 8}}, stats)

		first.mended.Store(true)
		count, err := view.RetryAll(t.Context(), "first")
		require.NoError(t, err)
		require.Equal(t, 8, count)
		require.Eventually(t, func() bool { return first.hasAll(events) }, patience, tick)
		count, err = view.DiscardAll(t.Context(), "", operator.StateDead)
		require.NoError(t, err)
		require.Equal(t, 8, count)
		require.Empty(t, list(t, view, operator.Filter{State: operator.StateDead}))
		require.False(t, second.hasAll(events[:1]))
	})
}

func TestOperatorListsPagesByStateAndSink(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, q *testQueue) {
		q.subscribe(t, announce.SinkConfig{Name: "one"}, announce.SinkConfig{Name: "two"})
		sink, view, events := newFailing("one"), q.view(t, "one", "two"), newEvents(t, 12)
		q.announce(t, events...)
		require.Len(t, list(t, view, operator.Filter{}), 24)
		require.Len(t, list(t, view, operator.Filter{State: operator.StatePending, Sink: "two"}), 12)
		require.Empty(t, list(t, view, operator.Filter{State: operator.StateRetrying}))

		var listed []admission.Event
		filter := operator.Filter{Sink: "one", Limit: 5}
		for {
			page, next, err := view.List(t.Context(), filter)
			require.NoError(t, err)
			for _, got := range page {
				require.Equal(t, "one", got.Sink)
				require.NotZero(t, got.NextAttempt)
				listed = append(listed, events[slices.IndexFunc(events, func(e admission.Event) bool { return e.ID == got.EventID })])
			}
			if next == "" {
				break
			}
			filter.After = next
		}
		slices.Reverse(listed)
		require.Equal(t, events, listed, "newest first, each once")

		q.start(t, announce.Options{Poll: 5 * tick, Retry: announce.Retry{First: time.Hour, Limit: time.Hour}}, sink)
		require.Eventually(t, func() bool {
			return len(list(t, view, operator.Filter{State: operator.StateRetrying})) == 12
		}, patience, tick)
		got := list(t, view, operator.Filter{State: operator.StateRetrying})[0]
		require.Equal(t, 1, got.Failures)
		require.WithinDuration(t, time.Now().Add(45*time.Minute), got.NextAttempt, 20*time.Minute)
		require.NoError(t, view.Retry(t.Context(), got.ID), "an operator need not wait")
		require.Eventually(t, func() bool { return sink.attempts.Load() == 13 }, patience, tick)

		pending := list(t, view, operator.Filter{State: operator.StatePending})
		require.Len(t, pending, 12)
		require.NoError(t, view.Discard(t.Context(), pending[0].ID))
		require.Len(t, list(t, view, operator.Filter{State: operator.StatePending}), 11)
		discarded, err := view.DiscardAll(t.Context(), "two", operator.StatePending)
		require.NoError(t, err)
		require.Equal(t, 11, discarded)
	})
}

func TestOperatorMistakesAreNamed(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, q *testQueue) {
		view := q.view(t, "registry")
		require.ErrorIs(t, view.Retry(t.Context(), 12345), operator.ErrUnknownAnnouncement)
		require.ErrorIs(t, view.Discard(t.Context(), 12345), operator.ErrUnknownAnnouncement)
		require.ErrorIs(t, view.Enable(t.Context(), "nobody"), operator.ErrUnknownSink)
		require.ErrorIs(t, view.Disable(t.Context(), "nobody"), operator.ErrUnknownSink)
		for _, cursor := range []string{"x", "%", "e30", strings.Repeat("A", 5)} {
			_, _, err := view.List(t.Context(), operator.Filter{After: cursor})
			require.ErrorIs(t, err, operator.ErrBadCursor, cursor)
		}
		_, _, err := view.List(t.Context(), operator.Filter{State: "lost"})
		require.Error(t, err)
		states, err := view.Stats(t.Context())
		require.NoError(t, err)
		require.Equal(t, []queue.SinkState{{Name: "registry", Configured: true}}, states)
	})
}

func TestOperatorLeavesAnAnnouncementInFlightAlone(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, q *testQueue) {
		view, began, end := q.view(t, "registry"), make(chan struct{}), make(chan struct{})
		sink := &recorder{name: "registry", deliver: func(context.Context, sinks.Job) error {
			close(began)
			<-end
			return nil
		}}
		q.start(t, announce.Options{}, sink)
		event := newEvent(t)
		q.announce(t, event)
		<-began
		id := list(t, view, operator.Filter{})[0].ID
		require.ErrorIs(t, view.Retry(t.Context(), id), operator.ErrInFlight)
		require.ErrorIs(t, view.Discard(t.Context(), id), operator.ErrInFlight)
		close(end)
		q.requireEmpty(t)
		require.Equal(t, []int{1}, sink.times([]admission.Event{event}))
	})
}

func TestOperatorEnablingASinkStartsItsRetriesAnew(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, q *testQueue) {
		sink, view, count := newFailing("registry"), q.view(t, "registry"), &results{}
		options := announce.Options{
			Poll: tick, Observe: count.observe, Retry: announce.Retry{First: tick, Limit: tick, For: time.Hour},
		}
		failedLongAgo := func() {
			q.announce(t, newEvent(t))
			q.exec(t, "update "+q.table+` set metadata = '{"output":{"failures":3,"error":"no","first_failed":"`+
				time.Now().Add(-2*time.Hour).UTC().Format(time.RFC3339)+`"}}'`)
		}
		failedLongAgo()
		stop := q.start(t, options, sink)
		q.requireEmpty(t)
		require.Equal(t, 1, count.of("registry", announce.Dead), "its time was over")
		stop()

		require.NoError(t, view.Disable(t.Context(), "registry"))
		require.True(t, disabled(t, view, "registry"))
		failedLongAgo()
		require.NoError(t, view.Enable(t.Context(), "registry"))
		q.start(t, options, sink)
		require.Eventually(t, func() bool { return count.of("registry", announce.Retried) > 1 }, patience, tick)
		require.Equal(t, 1, count.of("registry", announce.Dead))
	})
}
