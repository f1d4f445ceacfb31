package sqlite

import (
	"context"
	"sync"
)

// ListenEvents calls wake whenever this store has committed an event, until ctx ends. It knows
// nothing of events that other processes commit: SQLite cannot tell. A reader that waits for those polls.
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
