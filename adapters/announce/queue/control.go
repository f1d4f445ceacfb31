package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// Control is what of River's client is needed to disable a sink. A queue that
// is paused is paused for all processes, and still is after a restart.
type Control interface {
	QueueGet(ctx context.Context, name string) (*rivertype.Queue, error)
	QueuePause(ctx context.Context, name string, opts *river.QueuePauseOpts) error
	QueueResume(ctx context.Context, name string, opts *river.QueuePauseOpts) error
	QueueUpdate(ctx context.Context, name string, params *river.QueueUpdateParams) (*rivertype.Queue, error)
}

// note is what is written of a sink at its queue.
type note struct {
	// EnabledAt is when an operator enabled the sink: retries begin anew with it.
	EnabledAt time.Time `json:"enabled_at,omitzero"`
	// Reason is why the sink is disabled.
	Reason string `json:"reason,omitzero"`
}

// Disable keeps a sink from being tried, and says whether it was this call that disabled the sink.
func Disable(ctx context.Context, queues Control, sink, reason string) (bool, error) {
	queue, err := queues.QueueGet(ctx, Of(sink))
	if err != nil {
		return false, fmt.Errorf("looking at the queue of sink %s: %w", sink, err)
	}
	if queue.PausedAt != nil {
		return false, nil
	}
	err = writeNote(ctx, queues, sink, note{Reason: reason})
	if err != nil {
		return false, err
	}
	err = queues.QueuePause(ctx, queue.Name, nil)
	if err != nil {
		return false, fmt.Errorf("pausing the queue of sink %s: %w", sink, err)
	}
	return true, nil
}

// Enable has a sink tried again.
func Enable(ctx context.Context, queues Control, sink string) error {
	// The note comes first: a job that fails once more must find it.
	err := writeNote(ctx, queues, sink, note{EnabledAt: time.Now().UTC()})
	if err != nil {
		return err
	}
	err = queues.QueueResume(ctx, Of(sink), nil)
	if err != nil {
		return fmt.Errorf("resuming the queue of sink %s: %w", sink, err)
	}
	return nil
}

func writeNote(ctx context.Context, queues Control, sink string, written note) error {
	text, err := json.Marshal(written)
	if err == nil {
		_, err = queues.QueueUpdate(ctx, Of(sink), &river.QueueUpdateParams{Metadata: text})
	}
	if err != nil {
		return fmt.Errorf("writing a note at the queue of sink %s: %w", sink, err)
	}
	return nil
}

// EnabledAt is zero for a sink that never was disabled.
func EnabledAt(ctx context.Context, queues Control, sink string) (time.Time, error) {
	queue, err := queues.QueueGet(ctx, Of(sink))
	if errors.Is(err, rivertype.ErrNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("looking at the queue of sink %s: %w", sink, err)
	}
	var written note
	err = json.Unmarshal(queue.Metadata, &written)
	if err != nil {
		return time.Time{}, fmt.Errorf("reading the note at the queue of sink %s: %w", sink, err)
	}
	return written.EnabledAt, nil
}
