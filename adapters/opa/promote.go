package opa

import (
	"context"
	"errors"
)

// Candidate checks source as Load does, and makes nothing live.
func (e *Engine) Candidate(ctx context.Context, source Source) (*Snapshot, error) {
	snapshot, _, err := e.check(ctx, source)
	return snapshot, err
}

// Promote makes a snapshot live that Candidate gave, and names the revision that was live before. It refuses a
// signed bundle that has become older than the one that was live last. The next load of the configured source replaces it.
func (e *Engine) Promote(ctx context.Context, snapshot *Snapshot) (previous string, err error) {
	e.loading.Lock()
	defer e.loading.Unlock()
	if e.awaiting.Load() && snapshot.bundle.isSigned() {
		return "", errors.New("it is not known yet which policies were live last")
	}
	err = e.checkOrder(snapshot.bundle)
	if err != nil {
		return "", err
	}
	if live := e.live.Load(); live != nil {
		previous = live.snapshot.revision
	}
	at := e.now()
	e.failed.Store(nil)
	e.confirmed.Store(&at)
	e.unreached.Store(nil)
	if snapshot.bundle.isSigned() {
		e.newest.Store(snapshot.bundle)
	}
	e.activate(ctx, snapshot)
	return previous, nil
}
