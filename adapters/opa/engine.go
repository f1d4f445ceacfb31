package opa

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/adapters/opa/regoval"
	"gatehouse/server/admission"
)

// Engine holds the live snapshot. Without one every review is refused as not ready. It is safe for concurrent
// use.
type Engine struct {
	schema        []byte
	now           func() time.Time
	recorder      Recorder
	allowRollback bool

	loading   sync.Mutex // one load at a time, so that what was loaded last is what is live
	live      atomic.Pointer[activation]
	failed    atomic.Pointer[Refusal]
	count     atomic.Int64
	confirmed atomic.Pointer[time.Time]
	unreached atomic.Pointer[Refusal]
}

type activation struct {
	snapshot *Snapshot
	at       time.Time
}

// Refusal is a set of policies that did not become live, and why.
type Refusal struct {
	Source string
	At     time.Time // since when: the same refusal again keeps it
	Err    error
}

// Option sets up an engine.
type Option func(*Engine)

// RecordWith tells recorder of every activation and refusal.
func RecordWith(recorder Recorder) Option { return func(e *Engine) { e.recorder = recorder } }

// AllowRollback lets a signed bundle become live that is older than the live one.
func AllowRollback() Option { return func(e *Engine) { e.allowRollback = true } }

// NewEngine makes an engine that checks policies against the JSON schema of the input.
func NewEngine(schema []byte, now func() time.Time, options ...Option) *Engine {
	engine := &Engine{schema: schema, now: now, recorder: nobody{}}
	for _, option := range options {
		option(engine)
	}
	return engine
}

// Load checks source and makes it live, or leaves what is live and returns why. The source is current when it
// is loaded.
func (e *Engine) Load(ctx context.Context, source Source) error {
	return e.LoadAsOf(ctx, source, e.now())
}

// LoadAsOf is Load of policies that were last known to be current at confirmed.
func (e *Engine) LoadAsOf(ctx context.Context, source Source, confirmed time.Time) error {
	e.loading.Lock()
	defer e.loading.Unlock()
	snapshot, revision, err := e.check(ctx, source)
	if err != nil {
		e.refuse(ctx, source.Name, revision, err)
		return err
	}
	at := e.now()
	e.live.Store(&activation{snapshot: snapshot, at: at})
	e.failed.Store(nil)
	e.confirmed.Store(&confirmed)
	e.unreached.Store(nil)
	e.recorder.PolicyActivated(ctx, Record{At: at, Source: source.Name, Revision: revision, Bundle: source.Bundle, Remarks: snapshot.remarks})
	return nil
}

// check does all that may refuse a source, in the order of what it costs. A panic of the engine refuses too:
// policies are reloaded beside the requests, and must not end the server that answers them.
func (e *Engine) check(ctx context.Context, source Source) (snapshot *Snapshot, revision string, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("the engine panicked on the policies: %v", cause)
		}
	}()
	err = e.checkOrder(source.Bundle)
	if err != nil {
		return nil, "", err
	}
	loaded, err := source.load(regoval.Capabilities())
	if err != nil {
		return nil, "", err
	}
	snapshot, err = newGatedSnapshot(ctx, source.Name, loaded, e.schema)
	if err != nil {
		return nil, loaded.revision, err
	}
	snapshot.bundle = source.Bundle
	skipped, err := checkOwnTests(ctx, source, e.schema)
	for _, test := range skipped {
		snapshot.remarks = append(snapshot.remarks, "test "+test+" is skipped")
	}
	return snapshot, loaded.revision, err
}

// clockSkew is by how much the clock of who builds bundles may be ahead.
const clockSkew = 10 * time.Minute

// checkOrder refuses a signed bundle that is older than the live one. An unsigned one has no order: who can
// replace it can also change the time that it names.
func (e *Engine) checkOrder(next *BundleInfo) error {
	if next == nil || next.Key == "" || e.allowRollback {
		return nil
	}
	// A time far ahead would lock out every bundle that is built until then.
	if next.BuiltAt.After(e.now().Add(clockSkew)) {
		return fmt.Errorf("the bundle says it was built at %s, which is in the future", stamp(next.BuiltAt))
	}
	live := e.live.Load()
	if live == nil || live.snapshot.bundle == nil || live.snapshot.bundle.Key == "" {
		return nil
	}
	last := live.snapshot.bundle.BuiltAt
	switch {
	case last.IsZero():
		return nil
	case next.BuiltAt.IsZero():
		return errors.New("rollback: the bundle does not say when it was built, and the live one does; " +
			"build it with gatehouse bundle build, or start with --allow-rollback")
	case next.BuiltAt.Before(last):
		return fmt.Errorf("rollback: the bundle was built at %s, before the live one (%s); start with --allow-rollback to accept it",
			stamp(next.BuiltAt), stamp(last))
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// Refuse notes policies that could not even be loaded: no bundle, a wrong signature, too large. revision is
// what is known of theirs, which may be nothing.
func (e *Engine) Refuse(ctx context.Context, source, revision string, err error) {
	e.loading.Lock()
	defer e.loading.Unlock()
	e.refuse(ctx, source, revision, err)
}

func (e *Engine) refuse(ctx context.Context, source, revision string, err error) {
	if ctx.Err() != nil { // the server is stopping, which says nothing of the policies
		return
	}
	e.count.Add(1)
	refusal := &Refusal{Source: source, At: e.now(), Err: err}
	last := e.failed.Load()
	if last != nil && last.Source == source && last.Err.Error() == err.Error() {
		refusal.At = last.At
		e.failed.Store(refusal)
		return
	}
	e.failed.Store(refusal)
	e.recorder.PolicyRefused(ctx, Record{At: refusal.At, Source: source, Revision: revision, Reason: err.Error()})
}

// Confirm notes that what is live is what its source has now.
func (e *Engine) Confirm() {
	now := e.now()
	e.confirmed.Store(&now)
	e.unreached.Store(nil)
	e.failed.Store(nil)
}

// Unreached notes that the source could not be asked, and says whether that is new.
func (e *Engine) Unreached(source string, err error) (isNew bool) {
	refusal := &Refusal{Source: source, At: e.now(), Err: err}
	last := e.unreached.Load()
	if last != nil {
		refusal.At = last.At
	}
	e.unreached.Store(refusal)
	return last == nil
}

// Reached notes that the source could be asked again, and says whether that is new.
func (e *Engine) Reached() (isNew bool) { return e.unreached.Swap(nil) != nil }

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
	Snapshot  *Snapshot // nil when none is live
	Since     time.Time // of the last success
	Confirmed time.Time // when what is live was last known to be what its source has
	Refused   *Refusal  // nil when the last load succeeded
	Unreached *Refusal  // why the source cannot be asked, and since when; nil when it can
	Failures  int64     // loads refused since the start
}

// Status gives the engine's state now.
func (e *Engine) Status() Status {
	status := Status{Refused: e.failed.Load(), Unreached: e.unreached.Load(), Failures: e.count.Load()}
	if live := e.live.Load(); live != nil {
		status.Snapshot, status.Since = live.snapshot, live.at
	}
	if confirmed := e.confirmed.Load(); confirmed != nil {
		status.Confirmed = *confirmed
	}
	return status
}
