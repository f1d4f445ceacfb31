// Package sinks delivers events to their receivers: webhooks, Redis channels and NATS streams. Each kind of sink owns its
// settings, their check and how their URL is read; a Secret may lie in a variable or a file.
//
// A sink makes one attempt when it is told to. It keeps no events, and does not decide who gets which.
package sinks

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

// Job is one event on its way to one sink.
type Job struct {
	EventID     uuid.UUID `json:"event_id"` // the same for all sinks and all attempts
	Sink        string    `json:"sink"`
	WorkspaceID uuid.UUID `json:"workspace_id"`
	// What goes into a CloudEvent besides the message.
	DecisionID uuid.UUID `json:"decision_id"`
	Event      string    `json:"event"`
	Hook       string    `json:"hook"`
	Code       string    `json:"code"`
	Sequence   int64     `json:"sequence"`
	// Message is the event's JSON exactly as it goes out. It is kept as a text
	// because jsonb would reorder its members.
	Message   string    `json:"message"`
	CreatedAt time.Time `json:"created_at"`
}

// JobKind is River's name for what a job is.
const JobKind = "announcement"

// Kind is JobKind.
func (Job) Kind() string { return JobKind }

// Concurrency is how many jobs one process gives to a sink at a time.
const Concurrency = 50

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

// GoneError says that the receiver wants no more events. Its sink is disabled for all processes until an operator enables it
// again.
type GoneError struct{ Cause error }

func (e GoneError) Error() string { return e.Cause.Error() }
func (e GoneError) Unwrap() error { return e.Cause }

// LaterError says that the receiver wants to be left alone for some time, if After is not 0.
type LaterError struct {
	Cause error
	After time.Duration
}

func (e LaterError) Error() string { return e.Cause.Error() }
func (e LaterError) Unwrap() error { return e.Cause }
