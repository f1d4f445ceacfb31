package readiness

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/molecule-ai/gatehouse/server/admission"
)

const (
	// proven is how long a successful review proves the components that it used.
	proven = 5 * time.Second
	// doubted is how long a failed review casts doubt on them although others have succeeded since.
	doubted = 10 * time.Second
	// suspected is how long it does where none has succeeded since.
	suspected = 10 * time.Minute

	// freshSuccess and freshFailure are how long the result of a probe is reused. After a failure the probe is repeated
	// sooner, because the component may be back, and sooner still where a review has failed since.
	freshSuccess = 2 * time.Second
	freshFailure = 250 * time.Millisecond
	freshDoubted = 50 * time.Millisecond

	// probeTimeout is below the 900 ms after which an asker gets an answer.
	probeTimeout = 700 * time.Millisecond
)

// errNoAnswer is the error of a probe that is not done in time.
var errNoAnswer = &admission.Error{Code: admission.CodeNotReady, Detail: "no answer in time"}

// part is a component with what is known of it.
type part struct {
	component Component
	probe     Probe
	local     bool // its probe looks at memory, and is asked each time
	log       *slog.Logger

	worked, failed atomic.Int64 // when a review last met it, by the clock of Readiness; 0 for never

	mu      sync.Mutex
	trying  *trial        // the probe that is under way, nil if none is
	tried   time.Duration // when the last one was done, 0 before the first
	result  error         // of that one
	wary    bool          // a review had failed before that one began
	down    bool          // what was logged last
	because string        // and why
}

// trial is a probe that is under way.
type trial struct {
	began time.Duration
	done  chan struct{}
}

// look says how the component is doing.
func (p *part) look(ctx context.Context, r *Readiness) error {
	now := r.clock()
	p.mu.Lock()
	if p.local {
		defer p.mu.Unlock()
		return p.settle(p.probe(ctx, false))
	}
	if p.isProven(now) {
		defer p.mu.Unlock()
		return p.settle(nil)
	}
	if p.isFresh(now) {
		defer p.mu.Unlock()
		return p.settle(p.result)
	}
	if p.trying == nil {
		p.try(r, now)
	}
	under := p.trying
	p.mu.Unlock()

	patience := time.NewTimer(probeTimeout - (now - under.began)) // at once, if it has been under way for longer
	defer patience.Stop()
	answered := false
	select {
	case <-under.done:
		answered = true
	case <-patience.C:
	case <-ctx.Done(): // the asker's, which says nothing of the component
		return errNoAnswer
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !answered && p.result == nil {
		return p.settle(errNoAnswer)
	}
	return p.settle(p.result) // if this probe is late, the failure of the one before says more
}

// isProven says whether reviews show that the component works.
func (p *part) isProven(now time.Duration) bool {
	return within(now, p.worked.Load(), proven) && !within(now, p.failed.Load(), doubted)
}

// isSuspected says whether reviews show that it may not.
func (p *part) isSuspected(now time.Duration) bool {
	worked, failed := p.worked.Load(), p.failed.Load()
	return within(now, failed, doubted) || failed > worked && within(now, failed, suspected)
}

// isFresh says whether the last probe's result can be given once more.
func (p *part) isFresh(now time.Duration) bool {
	age := now - p.tried
	switch {
	case p.tried == 0:
		return false
	case p.result != nil:
		return age < freshFailure
	case p.failed.Load() > int64(p.tried): // a review has failed since the last probe
		return p.wary && age < freshDoubted
	default:
		return age < freshSuccess
	}
}

func within(now time.Duration, at int64, limit time.Duration) bool {
	return at != 0 && int64(now)-at < int64(limit)
}

// try begins a probe. It has a deadline of its own: whoever asked may be gone before it is done.
func (p *part) try(r *Readiness, now time.Duration) {
	under := &trial{began: now, done: make(chan struct{})}
	p.trying = under
	suspicious := p.isSuspected(now)
	p.wary = suspicious
	r.probes.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
		defer cancel()
		err := p.probe(ctx, suspicious)
		var coded *admission.Error
		if err != nil && ctx.Err() != nil && !errors.As(err, &coded) {
			err = &admission.Error{Code: admission.CodeNotReady, Detail: errNoAnswer.Detail, Err: err}
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.trying, p.tried, p.result = nil, r.clock(), err
		close(under.done)
	})
}

// settle logs a change, once, and gives err.
func (p *part) settle(err error) error {
	if err == nil {
		if p.down {
			p.log.Info("ready again", "component", string(p.component))
		}
		p.down, p.because = false, ""
		return nil
	}
	why := reason(err)
	if !p.down || p.because != why {
		p.log.Warn("not ready", "component", string(p.component), "reason", why, "error", err)
	}
	p.down, p.because = true, why
	return err
}
