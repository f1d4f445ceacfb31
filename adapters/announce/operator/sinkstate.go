package operator

import (
	"context"
	"errors"
	"slices"

	"github.com/riverqueue/river/rivertype"

	"github.com/molecule-ai/gatehouse/adapters/announce/queue"
)

// Sinks says how each sink is doing: those that are configured, in the order of
// the configuration, and then what others left behind.
func (a *Announcements) Sinks(ctx context.Context) ([]queue.SinkState, error) {
	found, err := a.states(ctx)
	if err != nil {
		return nil, err
	}
	states := make([]queue.SinkState, len(a.sinks))
	for i, name := range a.sinks {
		states[i] = queue.SinkState{Name: name, Configured: true}
	}
	for _, state := range found {
		i := slices.Index(a.sinks, state.Name)
		if i >= 0 {
			state.Configured = true
			states[i] = state
			continue
		}
		// The row of a queue stays for a day; without jobs it tells nothing.
		if state.Pending > 0 || state.Dead > 0 {
			states = append(states, state)
		}
	}
	return states, nil
}

// Stats is Sinks for metrics, whose labels configuration has to bound: whatever is
// not configured comes as one last sink of the name queue.OtherSinks, if there is any.
// It is one query.
func (a *Announcements) Stats(ctx context.Context) ([]queue.SinkState, error) {
	states, err := a.Sinks(ctx)
	if err != nil {
		return nil, err
	}
	stats, others := states[:len(a.sinks)], states[len(a.sinks):]
	if len(others) == 0 {
		return stats, nil
	}
	sum := queue.SinkState{Name: queue.OtherSinks}
	for _, other := range others {
		sum.Pending += other.Pending
		sum.Dead += other.Dead
		sum.OldestSeconds = max(sum.OldestSeconds, other.OldestSeconds)
	}
	return append(stats, sum), nil
}

// Disable keeps a sink from being tried, in all processes, until Enable.
// Announcements go on to wait for it.
func (a *Announcements) Disable(ctx context.Context, sink string) error {
	_, err := queue.Disable(ctx, a.queue, sink, "disabled by an operator")
	return sinkError(err)
}

// Enable has a disabled sink tried again. What waits for it gets all the time for
// retries again.
func (a *Announcements) Enable(ctx context.Context, sink string) error {
	return sinkError(queue.Enable(ctx, a.queue, sink))
}

func sinkError(err error) error {
	if errors.Is(err, rivertype.ErrNotFound) {
		return ErrUnknownSink
	}
	return err
}
