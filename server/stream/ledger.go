package stream

import (
	"context"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// Entry is an item at its place in a ledger.
type Entry[T any] struct {
	Seq  int64
	Item T
}

// Ledger is what a Hub reads.
type Ledger[T any] interface {
	// After gives up to limit items whose seq is greater than after, in the order of seq, as of one snapshot.
	// What is about one workspace is committed in the order of seq where readers rely on that order; the rest need
	// not be.
	After(ctx context.Context, after int64, limit int) ([]Entry[T], error)
	// Last is the greatest seq that can be read, 0 for none.
	Last(ctx context.Context) (int64, error)
	// Writers names the transactions that are writing now. Whoever has taken a seq below one that was read before
	// the call, and has not ended, is among them.
	Writers(ctx context.Context) ([]string, error)
}

// EventStore has a ledger of events.
type EventStore interface {
	EventsAfter(ctx context.Context, after int64, limit int) ([]ledger.Event, error)
	LastEventSeq(ctx context.Context) (int64, error)
	EventWriters(ctx context.Context) ([]string, error)
}

// Events is the ledger of events of a store.
func Events(store EventStore) Ledger[admission.Event] { return eventLedger{store} }

type eventLedger struct{ store EventStore }

func (l eventLedger) After(ctx context.Context, after int64, limit int) ([]Entry[admission.Event], error) {
	events, err := l.store.EventsAfter(ctx, after, limit)
	entries := make([]Entry[admission.Event], len(events))
	for i := range events {
		entries[i] = Entry[admission.Event]{events[i].Seq, events[i].Event}
	}
	return entries, err
}

func (l eventLedger) Last(ctx context.Context) (int64, error) { return l.store.LastEventSeq(ctx) }

func (l eventLedger) Writers(ctx context.Context) ([]string, error) { return l.store.EventWriters(ctx) }

// DecisionStore has a ledger of decisions.
type DecisionStore interface {
	DecisionsAfter(ctx context.Context, after int64, limit int) ([]ledger.Decision, error)
	LastDecisionSeq(ctx context.Context) (int64, error)
	DecisionWriters(ctx context.Context) ([]string, error)
}

// Decisions is the ledger of decisions of a store.
func Decisions(store DecisionStore) Ledger[admission.Decision] { return decisionLedger{store} }

type decisionLedger struct{ store DecisionStore }

func (l decisionLedger) After(ctx context.Context, after int64, limit int) ([]Entry[admission.Decision], error) {
	decisions, err := l.store.DecisionsAfter(ctx, after, limit)
	entries := make([]Entry[admission.Decision], len(decisions))
	for i := range decisions {
		entries[i] = Entry[admission.Decision]{decisions[i].Seq, decisions[i].Decision}
	}
	return entries, err
}

func (l decisionLedger) Last(ctx context.Context) (int64, error) { return l.store.LastDecisionSeq(ctx) }

func (l decisionLedger) Writers(ctx context.Context) ([]string, error) {
	return l.store.DecisionWriters(ctx)
}
