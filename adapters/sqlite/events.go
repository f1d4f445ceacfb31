package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"sync"

	"github.com/go-json-experiment/json"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// EventsAfter gives up to limit events whose seq is greater than after, in the order of seq, which is that of
// the commits: one transaction writes at a time.
func (s *Store) EventsAfter(ctx context.Context, after int64, limit int) ([]admission.LedgerEvent, error) {
	events, err := collect(ctx, s.readers, scanEvent, `
		select seq, id, workspace_seq, decision_id, hook, message from events
		where seq > $1 order by seq limit $2`, after, limit)
	if err != nil {
		return nil, fmt.Errorf("reading the ledger of events: %w", explain(ctx, err))
	}
	return events, nil
}

func scanEvent(rows *sql.Rows) (admission.LedgerEvent, error) {
	var read admission.LedgerEvent
	var message []byte
	event := &read.Event
	err := rows.Scan(&read.Seq, &event.ID, &event.Sequence, &event.DecisionID, &event.Hook, &message)
	if err != nil {
		return admission.LedgerEvent{}, err
	}
	err = json.Unmarshal(message, event)
	if err != nil {
		return admission.LedgerEvent{}, fmt.Errorf("the message of event %s is unreadable: %w", event.ID, err)
	}
	return read, nil
}

// LastEventSeq is the greatest seq that can be read, 0 if there is none.
func (s *Store) LastEventSeq(ctx context.Context) (int64, error) {
	var last int64
	err := s.readers.QueryRowContext(ctx, `select coalesce(max(seq), 0) from events`).Scan(&last)
	if err != nil {
		return 0, fmt.Errorf("reading the end of the ledger of events: %w", explain(ctx, err))
	}
	return last, nil
}

// EventWriters names nobody: a transaction that is writing has not taken a seq below one that can be read.
func (*Store) EventWriters(context.Context) ([]string, error) { return nil, nil }

// ListenEvents calls wake whenever this store has committed an event, until ctx ends. Of events that other
// processes commit it knows nothing: SQLite has no way to tell, so who waits for those looks from time to time.
// wake must not block.
func (s *Store) ListenEvents(ctx context.Context, wake func()) {
	leave := s.events.join(wake)
	defer leave()
	wake()
	<-ctx.Done()
}

// signal calls who waits for something. The zero value is ready.
type signal struct {
	mu      sync.Mutex
	waiting map[*func()]struct{}
}

func (s *signal) join(wake func()) (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == nil {
		s.waiting = make(map[*func()]struct{})
	}
	s.waiting[&wake] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.waiting, &wake)
	}
}

func (s *signal) call() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for wake := range s.waiting {
		(*wake)()
	}
}
