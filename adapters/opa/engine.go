package opa

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/molecule-ai/gatehouse/adapters/opa/casetest"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// Engine holds the live snapshot. Without one every review is refused as not ready. It is safe for concurrent
// use.
type Engine struct {
	schema  []byte
	now     func() time.Time
	options Options
	shipped func() (*snapshot.Snapshot, error) // nil: nothing is compared with it

	loading   sync.Mutex // one load at a time, so that the last one is live
	live      atomic.Pointer[activation]
	waiting   atomic.Pointer[activation]
	awaiting  atomic.Bool                   // Remember has not been called, and has to be
	newest    atomic.Pointer[ledger.Bundle] // the signed bundle that was live last, in this process or before
	failed    atomic.Pointer[Refusal]
	count     atomic.Int64 // of refusals
	confirmed atomic.Pointer[time.Time]
	unreached atomic.Pointer[Refusal]
	distrust  distrust
}

type activation struct {
	snapshot *snapshot.Snapshot
	at       time.Time
	weaker   []admission.Weakness // than the shipped policies
}

// Refusal is a set of policies that did not become live, and why.
type Refusal struct {
	Source string
	At     time.Time // since when: the same refusal again keeps it
	Err    error
}

// Options set up an engine. The zero value compares with nothing and has no recorder.
type Options struct {
	// Recorder hears of every activation and refusal.
	Recorder Recorder
	// Shipped are the policies that new ones are compared with. They are compiled when others first become live.
	Shipped *snapshot.Source
	// AllowRollback lets a signed bundle become live that is older than the live one.
	AllowRollback bool
	// AwaitHistory keeps signed bundles that passed all checks from deciding until Remember has told which one was live
	// last: a process that has just started does not know which one would be a rollback.
	AwaitHistory bool
	// ByOPA has OPA decide everything, without the fast path.
	ByOPA bool
}

// NewEngine makes an engine that checks policies against the JSON schema of the input.
func NewEngine(schema []byte, now func() time.Time, options Options) *Engine {
	engine := &Engine{schema: schema, now: now, options: options}
	engine.awaiting.Store(options.AwaitHistory)
	if options.Shipped != nil {
		engine.shipped = sync.OnceValues(func() (*snapshot.Snapshot, error) {
			return snapshot.New(context.Background(), *options.Shipped, schema)
		})
	}
	return engine
}

// Load checks source and makes it live. If the source is refused, the live policies stay and the error says why. The source is
// taken to be current.
func (e *Engine) Load(ctx context.Context, source snapshot.Source) error {
	return e.LoadAsOf(ctx, source, e.now())
}

// LoadAsOf is Load of policies that were last known to be current at confirmed.
func (e *Engine) LoadAsOf(ctx context.Context, source snapshot.Source, confirmed time.Time) error {
	e.loading.Lock()
	defer e.loading.Unlock()
	checked, revision, err := e.check(ctx, source)
	if err != nil {
		e.refuse(ctx, source.Name, revision, err)
		return err
	}
	e.confirm(confirmed)
	if source.Bundle.IsSigned() {
		e.newest.Store(source.Bundle)
		if e.awaiting.Load() {
			e.waiting.Store(&activation{snapshot: checked, at: e.now()})
			return nil
		}
	}
	e.activate(ctx, checked)
	return nil
}

// activate makes a snapshot live that passed all checks.
func (e *Engine) activate(ctx context.Context, next *snapshot.Snapshot) {
	at := e.now()
	weaker, weakerThanLive := e.compare(next)
	e.live.Store(&activation{snapshot: next, at: at, weaker: weaker})
	if e.distrust.of(next.Revision()) != nil { // looked at once it is live: a Distrust after this finds it there
		next.DistrustFastPath()
	}
	e.waiting.Store(nil)
	e.record(ctx, Activation{
		Activation: ledger.Activation{At: at, Source: next.Source(), Revision: next.Revision(), Activated: true, Bundle: next.Bundle()},
		Weaker:     weaker, WeakerThanLive: weakerThanLive, Remarks: next.Remarks(),
	})
}

// Remember tells which signed bundle was live last before this process, nil for none. Policies that wait for this become live. If
// they are older, they are refused, and Remember gives the error.
func (e *Engine) Remember(ctx context.Context, last *ledger.Bundle) error {
	e.loading.Lock()
	defer e.loading.Unlock()
	e.awaiting.Store(false)
	next := e.waiting.Load()
	if next == nil {
		e.newest.Store(last)
		return nil
	}
	if !e.options.AllowRollback {
		err := checkNewer(next.snapshot.Bundle(), last)
		if err != nil {
			e.newest.Store(last)
			e.refuse(ctx, next.snapshot.Source(), next.snapshot.Revision(), err)
			e.waiting.Store(nil)
			return err
		}
	}
	e.activate(ctx, next.snapshot)
	return nil
}

// check runs all checks of a source, the cheap ones first. A panic of OPA is a refusal too: a reload must not end the server
// that answers requests.
func (e *Engine) check(ctx context.Context, source snapshot.Source) (checked *snapshot.Snapshot, revision string, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("the engine panicked on the policies: %v", cause)
		}
	}()
	err = e.checkOrder(source.Bundle)
	if err != nil {
		return nil, "", err
	}
	contents, err := source.Read()
	if err != nil {
		return nil, "", err
	}
	checked, err = contents.Snapshot(ctx, e.schema)
	if err != nil {
		return nil, contents.Revision, err
	}
	if e.options.ByOPA {
		checked.WithoutFastPath()
	}
	skipped, err := casetest.RunOwn(ctx, contents, e.schema)
	for _, test := range skipped {
		checked.Remark("test " + test + " is skipped")
	}
	return checked, contents.Revision, err
}

// compare lists how policies are weaker than the shipped ones, and than the live ones.
func (e *Engine) compare(next *snapshot.Snapshot) (weaker, weakerThanLive []admission.Weakness) {
	if live := e.live.Load(); live != nil {
		weakerThanLive = next.WeakerThan(live.snapshot)
	}
	if e.shipped == nil {
		return nil, weakerThanLive
	}
	shipped, err := e.shipped()
	if err != nil {
		return []admission.Weakness{{How: "is not known, because the shipped policies are refused: " + err.Error()}}, weakerThanLive
	}
	return next.WeakerThan(shipped), weakerThanLive
}

// Refuse notes policies that could not even be loaded: no bundle, a wrong signature, too large.
func (e *Engine) Refuse(ctx context.Context, source string, err error) {
	e.loading.Lock()
	defer e.loading.Unlock()
	e.refuse(ctx, source, "", err)
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
	e.record(ctx, Activation{
		Activation: ledger.Activation{At: refusal.At, Source: source, Revision: revision, Reason: err.Error()},
	})
}

func (e *Engine) record(ctx context.Context, activation Activation) {
	if e.options.Recorder != nil {
		e.options.Recorder.Record(ctx, activation)
	}
}

// Confirm notes that the source still has the live policies. It does nothing if none are live: Remember may have refused them.
func (e *Engine) Confirm() {
	if e.live.Load() == nil && e.waiting.Load() == nil {
		return
	}
	e.confirm(e.now())
}

func (e *Engine) confirm(at time.Time) {
	e.confirmed.Store(&at)
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
	Snapshot  *snapshot.Snapshot   // nil when none is live
	Waiting   *snapshot.Snapshot   // passed all checks and waits for Remember; nil for none
	Since     time.Time            // of the last success
	Confirmed time.Time            // when what is live was last known to be what its source has
	Refused   *Refusal             // nil when the last load succeeded
	Unreached *Refusal             // why the source cannot be asked, and since when; nil when it can
	Failures  int64                // loads refused since the start
	Weaker    []admission.Weakness // how the live policies are weaker than the shipped ones

	ByOPA      bool        // OPA alone decides
	Distrusted *Distrusted // why, if it is because the fast path was wrong
}

// Status gives the engine's state now.
func (e *Engine) Status() Status {
	var status Status
	if waiting := e.waiting.Load(); waiting != nil { // read before live: policies become live before they stop waiting
		status.Waiting = waiting.snapshot
	}
	status.Refused, status.Unreached, status.Failures = e.failed.Load(), e.unreached.Load(), e.count.Load()
	if live := e.live.Load(); live != nil {
		status.Snapshot, status.Since, status.Weaker = live.snapshot, live.at, live.weaker
		status.ByOPA, status.Distrusted = live.snapshot.ByOPA(), e.distrust.of(live.snapshot.Revision())
	}
	if confirmed := e.confirmed.Load(); confirmed != nil {
		status.Confirmed = *confirmed
	}
	return status
}
