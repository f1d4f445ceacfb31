package opa

import "context"

// Candidate checks source as Load does, and makes nothing live.
func (e *Engine) Candidate(ctx context.Context, source Source) (*Snapshot, error) {
	snapshot, _, err := e.check(ctx, source)
	return snapshot, err
}

// Promote makes a snapshot live that Candidate gave, and names the revision that was live before. It refuses a
// signed bundle that has become older than the live one. The next load of the configured source replaces it.
func (e *Engine) Promote(ctx context.Context, snapshot *Snapshot) (previous string, err error) {
	e.loading.Lock()
	defer e.loading.Unlock()
	err = e.checkOrder(snapshot.bundle)
	if err != nil {
		return "", err
	}
	if live := e.live.Load(); live != nil {
		previous = live.snapshot.revision
	}
	at := e.now()
	e.live.Store(&activation{snapshot: snapshot, at: at})
	e.failed.Store(nil)
	e.confirmed.Store(&at)
	e.unreached.Store(nil)
	e.recorder.PolicyActivated(ctx, Record{
		At: at, Source: snapshot.source, Revision: snapshot.revision, Bundle: snapshot.bundle, Remarks: snapshot.remarks,
	})
	return previous, nil
}
