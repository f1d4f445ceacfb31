package announce

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"
)

const (
	// attemptsPerWorkspace bounds how many of a sink's workers the events of one
	// workspace may hold: a receiver that hangs for one workspace must leave
	// workers for the others.
	attemptsPerWorkspace = 4
	// A few more may wait for their turn, shortly. What comes on top of that goes
	// back into the queue, because a worker that waits is one that does not work.
	waitingPerWorkspace = 12
	turnPatience        = 100 * time.Millisecond
	// Those that went back come again one by one, so that a flood of them costs no
	// more than it must, but none stays away for longer than putOffLimit.
	putOffSpacing = 5 * time.Millisecond
	putOffLimit   = 30 * time.Second
)

// turns shares the workers of one sink, in one process, between workspaces.
type turns struct {
	mu          sync.Mutex
	byWorkspace map[uuid.UUID]*turn
}

type turn struct {
	slots chan struct{} // one for each attempt under way
	users int           // attempts under way and those that wait
	next  time.Time     // when the last that was put off comes again
}

// take gives a turn, to be given back with leave, or else says after what time to
// ask again.
func (t *turns) take(ctx context.Context, workspace uuid.UUID) (leave func(), putOff time.Duration) {
	turn, putOff := t.join(workspace)
	if turn == nil {
		return nil, putOff
	}
	patience := time.NewTimer(turnPatience)
	defer patience.Stop()
	select {
	case turn.slots <- struct{}{}:
		return func() {
			<-turn.slots
			t.part(workspace, turn)
		}, 0
	case <-patience.C:
	case <-ctx.Done():
	}
	t.part(workspace, turn)
	t.mu.Lock()
	defer t.mu.Unlock()
	return nil, turn.putOff()
}

// join is nil and a delay where too many are there already.
func (t *turns) join(workspace uuid.UUID) (*turn, time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byWorkspace == nil {
		t.byWorkspace = make(map[uuid.UUID]*turn)
	}
	known := t.byWorkspace[workspace]
	if known == nil {
		known = &turn{slots: make(chan struct{}, attemptsPerWorkspace)}
		t.byWorkspace[workspace] = known
	}
	if known.users >= attemptsPerWorkspace+waitingPerWorkspace {
		return nil, known.putOff()
	}
	known.users++
	return known, 0
}

func (t *turns) part(workspace uuid.UUID, turn *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	turn.users--
	if turn.users == 0 {
		delete(t.byWorkspace, workspace)
	}
}

func (t *turn) putOff() time.Duration {
	now := time.Now()
	if t.next.Before(now) {
		t.next = now
	}
	t.next = t.next.Add(putOffSpacing)
	return min(t.next.Sub(now), putOffLimit)
}
