package sources

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/molecule-ai/gatehouse/adapters/opa"
)

// Follower keeps the engine's policies those of an origin. Start, and then Run in one goroutine; Reload may be
// called from any.
type Follower struct {
	origin Origin
	remote remoteOrigin // the origin; nil if it is a local one
	engine *opa.Engine
	cache  *Cache // nil: nothing is kept
	logger *slog.Logger
	wake   chan struct{}

	mu        sync.Mutex
	forced    bool
	interrupt context.CancelFunc // of the Fetch under way

	keys     string // with which bundles were last checked
	tag      string // of the policies that were fetched last
	good     bool   // whether those are live
	failures int    // in a row, to ask the origin
	uncached bool   // the cache failed, and this was logged
}

// NewFollower follows origin. cache may be nil; what is local is not kept in it.
func NewFollower(origin Origin, engine *opa.Engine, cache *Cache, logger *slog.Logger) *Follower {
	remote, isRemote := origin.(remoteOrigin)
	if !isRemote {
		cache = nil
	}
	return &Follower{origin: origin, remote: remote, engine: engine, cache: cache, logger: logger, wake: make(chan struct{}, 1)}
}

// Start loads the policies of the origin, or the kept ones if the origin does not answer. It is an error if neither can be live.
// The kept ones are always loaded first: an older signed bundle must not replace them.
func (f *Follower) Start(ctx context.Context) error {
	f.loadKept(ctx)
	_, err := f.check(ctx)
	if status := f.engine.Status(); status.Snapshot != nil || status.Waiting != nil {
		return nil
	}
	return err
}

func (f *Follower) loadKept(ctx context.Context) {
	if f.cache == nil {
		return
	}
	kept, err := f.cache.load(f.origin.Name())
	if err != nil || kept == nil {
		f.cacheFailed(err)
		return
	}
	fetched := f.origin.open(kept.tag, kept.archive)
	err = fetched.Refused
	if err == nil {
		err = f.engine.LoadAsOf(ctx, fetched.Source, kept.confirmed)
	}
	if err != nil {
		f.logger.Warn("the kept policies are not used", "source", f.origin.Name(), "error", err)
		return
	}
	f.tag, f.good = kept.tag, true
	f.logger.Info("the kept policies are used until the source is asked", "source", f.origin.Name(),
		"confirmed", kept.confirmed.UTC())
}

// remoteOrigin is an origin that may be out of reach later, so that its bundles are kept.
type remoteOrigin interface {
	close()
	later() time.Duration
}

// Run follows until ctx ends.
func (f *Follower) Run(ctx context.Context) {
	var watching sync.WaitGroup
	defer watching.Wait()
	if local, isLocal := f.origin.(watchable); isLocal {
		watching.Go(func() { watch(ctx, local, f.nudge) })
	}
	if f.remote != nil {
		defer f.remote.close()
	}
	pause := f.origin.Poll()
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-f.wake:
		}
		again, err := f.check(ctx)
		timer.Reset(f.pause(again, err))
	}
}

// leastPause is for a server that always answers at once: it is not asked in a tight loop.
const leastPause = 50 * time.Millisecond

// pause is how long to wait for the next look. After a failure it is short, and then grows with each failure. It is at least
// what the server asked for. It is random by a tenth, so that replicas do not ask at the same moment.
func (f *Follower) pause(again bool, err error) time.Duration {
	usual := f.origin.Poll()
	if again {
		return leastPause
	}
	if err != nil && f.failures > 0 {
		usual = min(usual, time.Second<<min(f.failures-1, 10))
		if f.remote != nil {
			if later := f.remote.later(); later > usual*9/10 {
				return later + rand.N(later/5+1) //nolint:gosec // a jitter is no secret
			}
		}
	}
	return usual*9/10 + rand.N(usual/5+1) //nolint:gosec // a jitter is no secret
}

// Reload asks the origin now. Policies that were refused before are checked again.
func (f *Follower) Reload() {
	f.mu.Lock()
	f.forced = true
	if f.interrupt != nil {
		f.interrupt()
	}
	f.mu.Unlock()
	f.nudge()
}

func (f *Follower) nudge() {
	select {
	case f.wake <- struct{}{}:
	default: // one is waiting already
	}
}

// check asks the origin once, and makes live what is new.
func (f *Follower) check(ctx context.Context) (again bool, err error) {
	fetched, err := f.fetch(ctx)
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case errors.Is(err, errInterrupted): // by a Reload, which has woken Run
		return false, nil
	case err != nil:
		f.failures++
		if f.engine.Unreached(f.origin.Name(), err) {
			f.logger.Warn("the source of policies cannot be asked; what is live stays and grows stale",
				"source", f.origin.Name(), "error", err)
		}
		return false, err
	}
	f.failures = 0
	if f.engine.Reached() {
		f.logger.Info("the source of policies answers again", "source", f.origin.Name())
	}
	if fetched.Unchanged {
		f.tag = fetched.Tag
		if f.good {
			f.confirm()
		}
		return fetched.AskAgain, nil
	}
	return fetched.AskAgain, f.load(ctx, fetched)
}

var errInterrupted = errors.New("interrupted")

func (f *Follower) fetch(ctx context.Context) (Fetched, error) {
	limited, cancel := context.WithCancel(ctx)
	defer cancel()
	f.mu.Lock()
	tag := f.tag
	if f.forced || f.keysChanged() {
		f.forced, tag = false, ""
	}
	f.interrupt = cancel
	f.mu.Unlock()
	fetched, err := f.origin.Fetch(limited, tag)
	f.mu.Lock()
	f.interrupt = nil
	f.mu.Unlock()
	if err != nil && limited.Err() != nil {
		return Fetched{}, errInterrupted
	}
	return fetched, err
}

// keysChanged says whether bundles have to be checked again. A refused bundle may be signed by a new key, and the live one by a
// key that is gone.
func (f *Follower) keysChanged() bool {
	before := f.keys
	f.keys = f.origin.keys().fingerprints()
	return before != "" && before != f.keys
}

// load notes the tag of refused policies too, so that the same ones are not fetched and refused again.
func (f *Follower) load(ctx context.Context, fetched Fetched) error {
	err := fetched.Refused
	if err != nil {
		f.engine.Refuse(ctx, f.origin.Name(), err)
	} else {
		err = f.engine.Load(ctx, fetched.Source)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f.tag, f.good = fetched.Tag, err == nil
	if err == nil && f.cache != nil {
		f.cacheFailed(f.cache.store(f.origin.Name(), fetched.Archive, fetched.Tag))
	}
	return err
}

func (f *Follower) confirm() {
	f.engine.Confirm()
	if f.cache != nil {
		f.cacheFailed(f.cache.confirm(f.origin.Name(), f.engine.Status().Confirmed))
	}
}

// cacheFailed logs once that the cache does not work. Policies are live without it.
func (f *Follower) cacheFailed(err error) {
	if err != nil && !f.uncached {
		f.logger.Error("the last good policies cannot be kept", "source", f.origin.Name(), "error", err)
	}
	f.uncached = err != nil
}
