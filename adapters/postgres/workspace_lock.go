package postgres

import (
	"context"
	"sync"

	"github.com/google/uuid"
)

// workspaceLock is one lock per workspace. Requests of one workspace queue here, holding nothing, and not in the
// database, where each would hold a connection: 50 of them would leave none for the others. The zero value is
// ready.
type workspaceLock struct {
	mu   sync.Mutex
	held map[uuid.UUID]*queue
}

// queue is there as long as somebody holds the lock or waits for it.
type queue struct {
	turn    chan struct{} // holds one while the lock is held
	members int
}

// lock waits for its turn, or until ctx ends. The func it returns gives the lock back.
func (k *workspaceLock) lock(ctx context.Context, id uuid.UUID) (func(), error) {
	q := k.join(id)
	select {
	case q.turn <- struct{}{}:
		return func() {
			<-q.turn
			k.leave(id, q)
		}, nil
	case <-ctx.Done():
		k.leave(id, q)
		return nil, ctx.Err()
	}
}

func (k *workspaceLock) join(id uuid.UUID) *queue {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held == nil {
		k.held = make(map[uuid.UUID]*queue)
	}
	q := k.held[id]
	if q == nil {
		q = &queue{turn: make(chan struct{}, 1)}
		k.held[id] = q
	}
	q.members++
	return q
}

func (k *workspaceLock) leave(id uuid.UUID, q *queue) {
	k.mu.Lock()
	defer k.mu.Unlock()
	q.members--
	if q.members == 0 {
		delete(k.held, id)
	}
}
