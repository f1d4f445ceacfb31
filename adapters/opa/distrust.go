package opa

import (
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// Distrusted says why the fast path is off for policies: OPA decided a review a second time, and differently.
type Distrusted struct {
	At         time.Time
	DecisionID uuid.UUID // of the review
	Rules      []string  // whose entries were not the same; none if OPA gave an error
}

// distrust are the policies on which the fast path was wrong. They are kept because the same policies can be loaded again.
type distrust struct {
	mutex sync.Mutex
	known []revisionDistrusted // the newest last
}

type revisionDistrusted struct {
	revision string
	Distrusted
}

// keptDistrusted bounds how many are kept. It is far more than has ever been needed.
const keptDistrusted = 100

func (d *distrust) add(revision string, found Distrusted) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.known = append(d.known, revisionDistrusted{revision, found})
	d.known = d.known[max(0, len(d.known)-keptDistrusted):]
}

// of gives the first disagreement on policies, nil if there was none.
func (d *distrust) of(revision string) *Distrusted {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	at := slices.IndexFunc(d.known, func(k revisionDistrusted) bool { return k.revision == revision })
	if at < 0 {
		return nil
	}
	found := d.known[at].Distrusted
	return &found
}

// Reference decides by OPA alone, with the policies of a revision. It is nil if they are not live any more, or if OPA decides
// alone anyway.
func (e *Engine) Reference(revision string) admission.Evaluable {
	live := e.live.Load()
	if live == nil || live.snapshot.Revision() != revision || live.snapshot.ByOPA() {
		return nil
	}
	return live.snapshot.Reference()
}

// Distrust turns the fast path off for the policies of a revision, now and whenever they become live again. It does not wait
// for a load that is under way.
func (e *Engine) Distrust(revision string, decisionID uuid.UUID, rules []string) {
	e.distrust.add(revision, Distrusted{At: e.now(), DecisionID: decisionID, Rules: rules})
	if live := e.live.Load(); live != nil && live.snapshot.Revision() == revision {
		live.snapshot.DistrustFastPath()
	}
}
