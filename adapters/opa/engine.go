package opa

import (
	"context"
	"sync/atomic"
	"time"

	"gatehouse/server/admission"
)

// Engine holds the live snapshot. The zero of it has none: every review is then refused as not ready.
type Engine struct {
	schema []byte
	now    func() time.Time
	live   atomic.Pointer[activation]
	failed atomic.Pointer[Refusal]
	count  atomic.Int64
}

type activation struct {
	snapshot *Snapshot
	at       time.Time
}

// Refusal is a set of policies that did not become live, and why.
type Refusal struct {
	Source string
	At     time.Time
	Err    error
}

// NewEngine makes an engine that checks policies against the JSON schema of the input.
func NewEngine(schema []byte, now func() time.Time) *Engine {
	return &Engine{schema: schema, now: now}
}

// Load checks source and makes it live, or leaves what is live and returns why.
func (e *Engine) Load(ctx context.Context, source Source) error {
	snapshot, err := NewSnapshot(ctx, source, e.schema)
	if err != nil {
		e.count.Add(1)
		e.failed.Store(&Refusal{Source: source.Name, At: e.now(), Err: err})
		return err
	}
	e.live.Store(&activation{snapshot: snapshot, at: e.now()})
	e.failed.Store(nil)
	return nil
}

// Current is the live snapshot for the Gate; nil when there is none.
func (e *Engine) Current() admission.Ruleset {
	live := e.live.Load()
	if live == nil {
		return nil
	}
	return live.snapshot
}

// Status is what operators see of the engine.
type Status struct {
	Snapshot *Snapshot // nil when none is live
	Since    time.Time // of the last success
	Refused  *Refusal  // nil when the last load succeeded
	Failures int64     // loads refused since the start
}

// Status gives the engine's state now.
func (e *Engine) Status() Status {
	status := Status{Refused: e.failed.Load(), Failures: e.count.Load()}
	if live := e.live.Load(); live != nil {
		status.Snapshot, status.Since = live.snapshot, live.at
	}
	return status
}
