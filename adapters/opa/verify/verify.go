// Package verify has OPA decide a share of the live reviews a second time, and turns the fast path off if OPA decides
// differently.
//
// Requests do not wait for it: a picked review is put in a queue after it was answered. If the queue is full, it is dropped and
// counted. Verifying never changes an answer. It does not compare other policies: package shadow does.
package verify

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// Policies are those that are live.
type Policies interface {
	// Reference decides by OPA alone, by the policies of a revision; nil where there is nothing to verify.
	Reference(revision string) admission.Evaluable
	// Distrust has OPA alone decide by the policies of a revision from now on.
	Distrust(revision string, decisionID uuid.UUID, rules []string)
}

// Meter counts what comes of reviews that were picked. Its methods must not block.
type Meter interface {
	// Verified is called with same, disagreed, error or dropped for each.
	Verified(result string)
}

// What comes of a review that was picked.
const (
	Same      = "same"
	Disagreed = "disagreed"
	Failed    = "error"   // OPA had no time for a verdict
	Dropped   = "dropped" // too many waited, or the server stopped
)

// Options of a Verifier. Policies, Meter and Logger are required.
type Options struct {
	Policies  Policies
	Meter     Meter
	Logger    *slog.Logger
	Share     float64             // of the decisions, from 0 to 1
	Evaluator admission.Evaluator // its Timeout is 250 ms by default
	Queue     int                 // most reviews that wait; 64
}

// Verifier implements admission.Observer. It is safe for concurrent use.
type Verifier struct {
	options Options
	queue   chan job
	working context.Context
	stop    context.CancelFunc
	worker  sync.WaitGroup
}

// job is one decision.
type job struct {
	input    admission.Input
	decision uuid.UUID
	at       time.Time
	verdict  admission.Verdict
}

// New starts a Verifier. It evaluates one review at a time.
func New(o Options) *Verifier {
	o.Evaluator.Timeout = cmp.Or(o.Evaluator.Timeout, 250*time.Millisecond)
	v := &Verifier{options: o, queue: make(chan job, cmp.Or(o.Queue, 64))}
	v.working, v.stop = context.WithCancel(context.Background())
	v.worker.Go(v.work)
	return v
}

// Close drops what waits, and ends once nothing is evaluated any more.
func (v *Verifier) Close() {
	v.stop()
	v.worker.Wait()
	for {
		select {
		case <-v.queue:
			v.options.Meter.Verified(Dropped)
		default:
			return
		}
	}
}

// Reviewed implements admission.Observer. It neither waits nor fails.
func (v *Verifier) Reviewed(_ context.Context, o admission.Outcome) {
	if o.Err != nil || o.Repeated || rand.Float64() >= v.options.Share { //nolint:gosec // nobody gains by guessing which
		return
	}
	if v.options.Policies.Reference(o.Decision.Verdict.Revision) == nil { // OPA has decided this one, too
		return
	}
	picked := job{input: o.Input, decision: o.Decision.ID, at: o.Decision.At, verdict: o.Decision.Verdict}
	select {
	case v.queue <- picked:
	default:
		v.options.Meter.Verified(Dropped)
	}
}

func (v *Verifier) work() {
	for v.working.Err() == nil {
		select {
		case <-v.working.Done():
		case next := <-v.queue:
			v.verify(next)
		}
	}
}

func (v *Verifier) verify(j job) {
	reference := v.options.Policies.Reference(j.verdict.Revision)
	if reference == nil { // other policies are live by now, or the fast path was turned off
		return
	}
	verdict, err := v.options.Evaluator.Evaluate(v.working, reference, j.input, j.at)
	var wrong *admission.Disagreement
	switch {
	case v.working.Err() != nil: // whatever came of it, it came of that
		v.options.Meter.Verified(Dropped)
		return
	case errors.Is(err, context.DeadlineExceeded):
		v.options.Meter.Verified(Failed)
		return
	case err != nil:
		wrong = &admission.Disagreement{Err: err}
	case !errors.As(admission.Compare(j.verdict, verdict), &wrong):
		v.options.Meter.Verified(Same)
		return
	}
	v.options.Policies.Distrust(j.verdict.Revision, j.decision, wrong.Rules)
	v.options.Meter.Verified(Disagreed)
	v.options.Logger.Error("OPA says otherwise than the fast path, which is off for these policies from now on: OPA decides alone",
		"decision_id", j.decision.String(), "hook", j.input.Hook, "rules", wrong.Rules, "policy_revision", j.verdict.Revision, "error", wrong)
}
