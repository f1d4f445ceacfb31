package opa

import (
	"context"
	"errors"

	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
)

// Candidate checks source as Load does, and makes nothing live.
func (e *Engine) Candidate(ctx context.Context, source snapshot.Source) (*snapshot.Snapshot, error) {
	candidate, _, err := e.check(ctx, source)
	return candidate, err
}

// Promote makes a snapshot from Candidate live, and gives the revision that was live before. It refuses a signed bundle that is
// older than the one that was live last. The next load of the configured source replaces the promoted policies.
func (e *Engine) Promote(ctx context.Context, candidate *snapshot.Snapshot) (previous string, err error) {
	e.loading.Lock()
	defer e.loading.Unlock()
	if e.awaiting.Load() && candidate.Bundle().IsSigned() {
		return "", errors.New("it is not known yet which policies were live last")
	}
	err = e.checkOrder(candidate.Bundle())
	if err != nil {
		return "", err
	}
	if live := e.live.Load(); live != nil {
		previous = live.snapshot.Revision()
	}
	e.confirm(e.now())
	if candidate.Bundle().IsSigned() {
		e.newest.Store(candidate.Bundle())
	}
	e.activate(ctx, candidate)
	return previous, nil
}
