package announce

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/internal/rereadfile"
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

// Settings are what a sink of one type is configured with.
type Settings interface {
	// Validate checks what can be checked without reading a file or a variable. Its errors name the member, and repeat no secret.
	Validate() error
	// Open makes a sink of settings that are valid. It reads the files and variables that secrets are in, and needs no
	// receiver to be there.
	Open(name string, deps Dependencies) (OpenSink, error)
}

// OpenSink is a sink that holds connections until it is closed.
type OpenSink interface {
	Sink
	io.Closer
}

// Dependencies are what sinks need besides their settings.
type Dependencies struct {
	// Workspaces is asked before liveness keys are deleted.
	Workspaces Workspaces
	// Source is the source of CloudEvents.
	Source string
	Log    *slog.Logger
	// Resolver looks up the hosts of webhooks, RootCAs vouch for them. The system's are taken for nil.
	Resolver *net.Resolver
	RootCAs  *x509.CertPool
	// Report hears of secrets in files that change; nil for nobody.
	Report rereadfile.Reporter
}

var errNoURL = errors.New("url: missing")

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
