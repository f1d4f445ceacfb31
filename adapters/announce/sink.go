package announce

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// Sink is one receiver of events.
type Sink interface {
	// Name names the sink in the queue, in logs and in metrics. It must not
	// change while jobs wait for it.
	Name() string
	// Deliver returns once the receiver has job's message. It is called again
	// after an error, and may be called concurrently; ctx has a deadline. Its
	// errors go to logs and into the database: they hold no secret.
	Deliver(ctx context.Context, job Job) error
}

// Workspaces knows how workspaces are now. Stores implement it.
type Workspaces interface {
	// StillFailed says whether the workspace's row is there and failed.
	StillFailed(ctx context.Context, workspaceID uuid.UUID) (bool, error)
}

// What became of an attempt to deliver.
const (
	Delivered = "delivered"
	Retried   = "retried"
	Dead      = "dead"
)

// goneError is a receiver's word that it wants no more: its sink is disabled, for
// all processes, until an operator enables it again.
type goneError struct{ cause error }

func (e goneError) Error() string { return e.cause.Error() }
func (e goneError) Unwrap() error { return e.cause }

// laterError is a receiver's word that it is to be left alone for some time, if
// after is not 0.
type laterError struct {
	cause error
	after time.Duration
}

func (e laterError) Error() string { return e.cause.Error() }
func (e laterError) Unwrap() error { return e.cause }
