// Package readiness says whether reviews can be decided now, and if not, which part keeps them from it.
//
// It follows the reviews: while they succeed, nothing is probed. Otherwise the parts are probed, but not more often than a few
// times a second, however often somebody asks. It does not decide what becomes of a server that is not ready.
package readiness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// Component names a part that every review needs.
type Component string

// The components.
const (
	Facts    Component = "facts"
	Ledger   Component = "ledger"
	Outbox   Component = "outbox"
	Policies Component = "policies"
)

// Probe tries a component, and gives why it does not work. suspected says that a review has failed for it and none has
// succeeded since: then the probe should try as much as a review does. The detail of an *admission.Error is shown to
// whoever asks; of any other error only that there is one.
type Probe func(ctx context.Context, suspected bool) error

// Options of a Readiness. All but Now are required. The probe of the policies looks at memory, and is asked each time.
type Options struct {
	Facts, Ledger, Outbox, Policies Probe
	Logger                          *slog.Logger
	Now                             func() time.Time
}

// Readiness watches the components. It is an admission.Observer and safe for concurrent use.
type Readiness struct {
	now                   func() time.Time
	begin                 time.Time
	facts, ledger, outbox *part
	parts                 []*part
	probes                sync.WaitGroup
}

// New makes a Readiness. Nothing is tried until somebody asks.
func New(o Options) *Readiness {
	if o.Now == nil {
		o.Now = time.Now
	}
	r := &Readiness{now: o.Now, begin: o.Now()}
	add := func(component Component, probe Probe) *part {
		p := &part{component: component, probe: probe, log: o.Logger}
		r.parts = append(r.parts, p)
		return p
	}
	add(Policies, o.Policies).local = true
	r.facts = add(Facts, o.Facts)
	r.ledger = add(Ledger, o.Ledger)
	r.outbox = add(Outbox, o.Outbox)
	return r
}

// Close waits for probes that are under way. Nobody may ask any more.
func (r *Readiness) Close() { r.probes.Wait() }

// clock is the time since New. Setting the machine's clock does not change it, and it is never 0.
func (r *Readiness) clock() time.Duration { return r.now().Sub(r.begin) + 1 }

// Reviewed implements admission.Observer.
func (r *Readiness) Reviewed(_ context.Context, o admission.Outcome) {
	now := int64(r.clock())
	if o.Err != nil {
		r.failed(now, o)
		return
	}
	if o.Repeated { // it was decided and recorded before
		return
	}
	r.facts.worked.Store(now)
	if o.Review.DryRun {
		return
	}
	r.ledger.worked.Store(now)
	if o.Decision.Event != nil {
		r.outbox.worked.Store(now)
	}
}

// failed makes the parts suspected that may have caused a failure. The outbox is written in the ledger's transaction.
func (r *Readiness) failed(now int64, o admission.Outcome) {
	_, recording := o.Stages[admission.StageLedger]
	_, evaluating := o.Stages[admission.StagePolicy]
	late := o.Err.Code == admission.CodeDeadlineExceeded
	switch {
	case o.Err.Code == admission.CodeRecordFailed, o.Err.Code == admission.CodeLedgerUnavailable, late && recording:
		r.ledger.failed.Store(now)
		r.outbox.failed.Store(now)
	case o.Err.Code == admission.CodeFactsUnavailable, late && !evaluating:
		r.facts.failed.Store(now)
	}
}

// State is how a component is doing.
type State struct {
	Component Component
	Err       error // nil if it works
}

// States looks at every component, at all of them at once.
func (r *Readiness) States(ctx context.Context) []State {
	states := make([]State, len(r.parts))
	var looking sync.WaitGroup
	for i, p := range r.parts {
		looking.Go(func() { states[i] = State{p.component, p.look(ctx, r)} })
	}
	looking.Wait()
	return states
}

// Check gives nil if reviews can be decided. Its error is an *admission.Error, whose detail names the components that
// keep them from it. They have been logged.
func (r *Readiness) Check(ctx context.Context) error {
	var causes []string
	for _, state := range r.States(ctx) {
		if state.Err != nil {
			causes = append(causes, fmt.Sprintf("%s (%s)", state.Component, reason(state.Err)))
		}
	}
	if len(causes) == 0 {
		return nil
	}
	return &admission.Error{Code: admission.CodeNotReady, Detail: "not ready: " + strings.Join(causes, ", ")}
}

// reason is what anybody may hear of err.
func reason(err error) string {
	var coded *admission.Error
	if errors.As(err, &coded) && coded.Detail != "" {
		return coded.Detail
	}
	return "it does not work; the log says why"
}
