package announce

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"
)

const (
	// attemptsPerWorkspace bounds how many of a sink's workers one workspace may hold. A receiver that hangs for one
	// workspace leaves workers for the others.
	attemptsPerWorkspace = 4
	// waitingPerWorkspace jobs more may wait for a slot, for slotPatience. Any other job goes back into the queue at once,
	// because a worker that waits does no work.
	waitingPerWorkspace = 12
	slotPatience        = 100 * time.Millisecond
	// Jobs that went back come again putOffSpacing apart, so that a flood costs little. None stays away for longer than
	// putOffLimit.
	putOffSpacing = 5 * time.Millisecond
	putOffLimit   = 30 * time.Second
)

// workspaceSlots shares the workers of one sink, in one process, between workspaces.
type workspaceSlots struct {
	mu          sync.Mutex
	byWorkspace map[uuid.UUID]*slots
}

// slots are those of one workspace.
type slots struct {
	taken chan struct{} // one for each attempt in flight
	users int           // attempts in flight, and jobs that wait for a slot
	next  time.Time     // when the last job that was put off comes again
}

// take gives a slot, which leave gives back. If leave is nil there is none: the job is to come again after putOff.
func (w *workspaceSlots) take(ctx context.Context, workspace uuid.UUID) (leave func(), putOff time.Duration) {
	known, putOff := w.join(workspace)
	if known == nil {
		return nil, putOff
	}
	patience := time.NewTimer(slotPatience)
	defer patience.Stop()
	select {
	case known.taken <- struct{}{}:
		return func() {
			<-known.taken
			w.part(workspace, known)
		}, 0
	case <-patience.C:
	case <-ctx.Done():
	}
	w.part(workspace, known)
	w.mu.Lock()
	defer w.mu.Unlock()
	return nil, known.putOff()
}

// join is nil and a delay where too many wait already.
func (w *workspaceSlots) join(workspace uuid.UUID) (*slots, time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byWorkspace == nil {
		w.byWorkspace = make(map[uuid.UUID]*slots)
	}
	known := w.byWorkspace[workspace]
	if known == nil {
		known = &slots{taken: make(chan struct{}, attemptsPerWorkspace)}
		w.byWorkspace[workspace] = known
	}
	if known.users >= attemptsPerWorkspace+waitingPerWorkspace {
		return nil, known.putOff()
	}
	known.users++
	return known, 0
}

func (w *workspaceSlots) part(workspace uuid.UUID, known *slots) {
	w.mu.Lock()
	defer w.mu.Unlock()
	known.users--
	if known.users == 0 {
		delete(w.byWorkspace, workspace)
	}
}

func (s *slots) putOff() time.Duration {
	now := time.Now()
	if s.next.Before(now) {
		s.next = now
	}
	s.next = s.next.Add(putOffSpacing)
	return min(s.next.Sub(now), putOffLimit)
}
