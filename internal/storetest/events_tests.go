package storetest

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

var eventsTests = map[string]func(*testing.T, Harness){
	"an event is read from the ledger as it was announced": func(t *testing.T, h Harness) {
		id := uuid.New()
		h.PutWorkspace(t, id, platform())

		marked := mustRegister(t, h.Store(), withUID(decision(t, id, allowed()), "uid-1", "body"))

		require.EqualValues(t, 1, marked.Event.Sequence)
		require.Equal(t, marked.ID, marked.Event.DecisionID)
		require.Equal(t, hook, marked.Event.Hook)
		ledger := readLedger(t, h.Store(), 10)
		require.Len(t, ledger, 1)
		require.Equal(t, *marked.Event, ledger[0].Event)
		last, err := h.Store().LastEventSeq(t.Context())
		require.NoError(t, err)
		require.Equal(t, ledger[0].Seq, last)
	},
	"an empty ledger has no last event": func(t *testing.T, h Harness) {
		require.Empty(t, readLedger(t, h.Store(), 10))

		last, err := h.Store().LastEventSeq(t.Context())

		require.NoError(t, err)
		require.Zero(t, last)
		writers, err := h.Store().EventWriters(t.Context())
		require.NoError(t, err)
		require.Empty(t, writers)
	},
	"events of a workspace are numbered 1, 2, 3, whatever the others do": func(t *testing.T, h Harness) {
		ids := []uuid.UUID{uuid.New(), uuid.New(), uuid.New()}
		given := make(map[uuid.UUID]int64)
		for range 20 {
			id := ids[rand.IntN(len(ids))]
			h.PutWorkspace(t, id, platform(ordinary))

			marked := mustRegister(t, h.Store(), decision(t, id, allowed()))

			given[id]++
			require.Equal(t, given[id], marked.Event.Sequence)
		}
		requireNumbered(t, h, ids, given)
	},
	"concurrent marks leave no gap, no repeat, and the order of the ledger": func(t *testing.T, h Harness) {
		const callers = 8
		ids := []uuid.UUID{uuid.New(), uuid.New(), uuid.New()}
		given := make(map[uuid.UUID]int64)
		var mu sync.Mutex
		for range rounds(25) {
			for _, id := range ids {
				h.PutWorkspace(t, id, platform(ordinary))
			}
			n := 0
			answers := concurrently(t, callers, func() (admission.Decision, error) {
				mu.Lock()
				id := ids[n%len(ids)]
				n++
				mu.Unlock()
				return register(t, h.Store(), decision(t, id, allowed()))
			})
			for _, answer := range answers {
				if answer.MarkedFailed {
					given[answer.WorkspaceID]++
				}
			}
		}
		require.Len(t, given, len(ids))
		requireNumbered(t, h, ids, given)
	},
	"a mark that is rolled back takes no number": func(t *testing.T, h Harness) {
		id := uuid.New()
		h.PutWorkspace(t, id, platform())
		first := mustRegister(t, h.Store(), withUID(decision(t, id, allowed()), "uid-1", "body"))
		h.PutWorkspace(t, id, platform())

		again := mustRegister(t, h.Store(), withUID(decision(t, id, allowed()), "uid-1", "body"))
		second := mustRegister(t, h.Store(), decision(t, id, allowed()))

		require.Equal(t, first.ID, again.ID)
		require.EqualValues(t, 2, second.Event.Sequence)
		requireNumbered(t, h, []uuid.UUID{id}, map[uuid.UUID]int64{id: 2})
	},
	"the ledger is read in pages from anywhere": func(t *testing.T, h Harness) {
		id := uuid.New()
		for range 7 {
			h.PutWorkspace(t, id, platform())
			mustRegister(t, h.Store(), decision(t, id, allowed()))
		}

		all := readLedger(t, h.Store(), 100)

		require.Len(t, all, 7)
		require.Equal(t, all, readLedger(t, h.Store(), 3))
		for i, event := range all {
			after, err := h.Store().EventsAfter(t.Context(), event.Seq, 100)
			require.NoError(t, err)
			require.Len(t, after, 6-i)
		}
	},
	"who listens is woken at first and by every event": func(t *testing.T, h Harness) {
		ctx, cancel := context.WithCancel(t.Context())
		woken := make(chan struct{}, 100)
		var listening sync.WaitGroup
		listening.Go(func() { h.Store().ListenEvents(ctx, func() { woken <- struct{}{} }) })
		<-woken
		id := uuid.New()
		for range 3 {
			h.PutWorkspace(t, id, platform())
			mustRegister(t, h.Store(), decision(t, id, allowed()))
			<-woken
		}

		cancel()
		listening.Wait()
	},
	"reading the ledger ends with its context": func(t *testing.T, h Harness) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()

		_, err := h.Store().EventsAfter(ctx, 0, 1)
		require.ErrorIs(t, err, context.Canceled)
		_, err = h.Store().LastEventSeq(ctx)
		require.ErrorIs(t, err, context.Canceled)
	},
}

// readLedger reads all of it, in pages.
func readLedger(t testing.TB, s Store, page int) []ledger.Event {
	t.Helper()
	var all []ledger.Event
	after := int64(0)
	for {
		events, err := s.EventsAfter(t.Context(), after, page)
		require.NoError(t, err)
		for _, event := range events {
			require.Greater(t, event.Seq, after)
			after = event.Seq
		}
		all = append(all, events...)
		if len(events) < page {
			return all
		}
	}
}

// requireNumbered says that each workspace has as many events as were given, numbered from 1 in the order of the
// ledger, and that the outbox was told the same numbers.
func requireNumbered(t testing.TB, h Harness, ids []uuid.UUID, given map[uuid.UUID]int64) {
	t.Helper()
	numbered := make(map[uuid.UUID][]Announcement)
	for _, read := range readLedger(t, h.Store(), 100) {
		event := read.Event
		numbered[event.WorkspaceID] = append(numbered[event.WorkspaceID], Announcement{event.ID, event.Sequence})
		require.EqualValues(t, len(numbered[event.WorkspaceID]), event.Sequence)
	}
	for _, id := range ids {
		require.EqualValues(t, given[id], len(numbered[id]))
		require.Equal(t, numbered[id], h.Announced(t, id))
	}
}
