// Package admission decides whether a workspace may register or come online.
//
// It holds the types of the field (review, facts, verdict, violation, decision, event), the Evaluator, by which every
// evaluation is made, and the Gate, which takes a review through facts, policy and ledger in that order. It does no I/O of
// its own and knows no database, policy engine or transport: adapters implement its ports, and the program wires them.
package admission

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/internal/deadline"
)

// FactsReader looks up what is known of a workspace: one statement, one snapshot.
type FactsReader interface {
	Facts(ctx context.Context, workspaceID uuid.UUID) (Facts, error)
}

// Policy gives the policies that are live now, nil if none are.
type Policy interface {
	Current() Ruleset
}

// Ruleset is one immutable snapshot of policies and data. A decision uses one from beginning to end.
type Ruleset interface {
	HasHook(hook string) bool
	Evaluable
	// Mask gives in as the record of d may keep it. d has its verdict or its failure, and no input yet. With an
	// error the result has nothing but its revision.
	Mask(ctx context.Context, d Decision, in Input) (RecordedInput, error)
}

// ErrNotRecorded says that no decision is recorded under a uid of a caller.
var ErrNotRecorded = errors.New("no decision is recorded under this uid")

// Ledger keeps decisions. A decision that it has returned is durable. Where a decision with the same RequestKey is recorded
// already, Record and RecordAndMark write nothing and return that one.
type Ledger interface {
	// Recorded gives the decision of a caller's uid, or ErrNotRecorded.
	Recorded(ctx context.Context, of RequestKey) (Decision, error)
	// Record writes a decision that has no effect on the workspace.
	Record(ctx context.Context, d Decision) (Decision, error)
	// RecordAndMark locks the workspace's row and reads the facts again. If they are not equal to seen, it decides
	// again by judge.Again, and returns its result and error; if they are equal, it returns the decision alone. In the
	// same transaction it marks the row failed, if ShouldMark says so, and writes the events and the decision.
	RecordAndMark(ctx context.Context, d Decision, seen Facts, judge Judge) (Judged, error)
}

// FailureLog keeps the records of reviews that failed. It must not block: their callers wait for an answer.
type FailureLog interface {
	Failed(f FailedReview)
}

// FailedReview is a review whose failure is still to be recorded.
type FailedReview struct {
	decision Decision
	input    Input
	rules    Ruleset
}

// At is when the review began.
func (f FailedReview) At() time.Time { return f.decision.At }

// Record gives the decision to record. unmasked says why its input was erased, nil if it was not.
func (f FailedReview) Record(ctx context.Context) (d Decision, unmasked error) {
	d = f.decision
	unmasked = d.keepInput(ctx, f.rules, f.input)
	return d, unmasked
}

// Observer hears of every review once it has been answered or has failed. It must not block.
type Observer interface {
	Reviewed(ctx context.Context, o Outcome)
}

// Outcome is one review as operators see it. Err is nil when Decision is an answer.
type Outcome struct {
	Review   Review
	Decision Decision
	Input    Input // as evaluated last; the zero Input if nothing was
	Repeated bool  // the recorded answer of the same uid
	Unmasked error // why the input could not be masked and was erased; nil otherwise
	Err      *Error
	Total    time.Duration
	Stages   map[Stage]time.Duration // stages that were entered
}

// Stage names a part of a review's way.
type Stage string

// The stages of a review.
const (
	StageFacts  Stage = "facts"
	StagePolicy Stage = "policy"
	StageLedger Stage = "ledger"
)

// Limits are the deadlines of a review. Request holds for all of it.
type Limits struct {
	Facts, Policy, Request time.Duration
}

// Gate takes reviews to decisions. Every error on the way is an error answer and never an allow. It is safe
// for concurrent use.
type Gate struct {
	Facts      FactsReader
	Policy     Policy
	Ledger     Ledger
	Failures   FailureLog
	Observer   Observer
	Limits     Limits
	Deployment Deployment
	Now        func() time.Time
	// DryRun makes every decision one without effects that its caller hears as an allow. Denies are recorded,
	// counted and logged as such; errors stay errors.
	DryRun bool
	// Turns are those of its evaluations; nil for no bound. The wait counts against the request's deadline.
	Turns Turns
}

// Review decides r, records the decision, and only then returns it. Errors are *Error.
func (g *Gate) Review(ctx context.Context, r Review) (Decision, error) {
	start := g.Now()
	ctx, cancel := deadline.Within(ctx, g.Limits.Request)
	defer cancel()

	run := &run{gate: g, review: r, outcome: Outcome{Review: r, Stages: make(map[Stage]time.Duration, 3)}}
	decision, err := run.decide(ctx, start)
	run.outcome.Total = g.Now().Sub(start)
	run.outcome.Decision = decision
	if err != nil {
		run.outcome.Err = AsError(err)
		run.keepFailure(start)
	}
	g.Observer.Reviewed(ctx, run.outcome)
	if err != nil {
		return Decision{}, run.outcome.Err
	}
	return decision, nil
}

// run is the state of one review.
type run struct {
	gate    *Gate
	review  Review
	rules   Ruleset
	outcome Outcome
}

func (r *run) decide(ctx context.Context, now time.Time) (Decision, error) {
	r.rules = r.gate.Policy.Current()
	if r.rules == nil {
		return Decision{}, &Error{Code: CodeNotReady, Detail: "no policies are active"}
	}
	if !r.rules.HasHook(r.review.Hook) {
		return Decision{}, &Error{Code: CodeUnknownHook, Detail: "no policy defines this hook"}
	}
	if r.review.UID != "" && !r.dry() {
		decision, err := r.recorded(ctx)
		if !errors.Is(err, ErrNotRecorded) {
			return decision, err
		}
	}

	facts, err := r.facts(ctx)
	if err != nil {
		return Decision{}, err
	}
	decision, err := r.newDecision(now)
	if err != nil {
		return Decision{}, err
	}
	judged, err := r.judge(ctx, Evaluator{Turns: r.gate.Turns, Timeout: r.gate.Limits.Policy}, decision, facts)
	r.saw(judged)
	if err != nil {
		return Decision{}, err
	}
	if r.review.DryRun {
		return judged.Decision, nil
	}
	return r.record(ctx, judged.Decision, facts)
}

// saw keeps what came of an evaluation. It is called on the review's own goroutine.
func (r *run) saw(judged Judged) {
	if judged.Evaluated.Hook == "" { // nothing was evaluated
		return
	}
	r.outcome.Input = judged.Evaluated
	r.outcome.Unmasked = judged.Unmasked
	r.outcome.Stages[StagePolicy] = judged.Timings.Policy
}

// dry says whether the review has no effects, be it for itself or for the server.
func (r *run) dry() bool { return r.review.DryRun || r.gate.DryRun }

// recorded answers a uid that was decided before.
func (r *run) recorded(ctx context.Context) (Decision, error) {
	defer r.time(StageLedger)()
	decision, err := r.gate.Ledger.Recorded(ctx, r.review.RequestKey())
	if errors.Is(err, ErrNotRecorded) {
		return Decision{}, err
	}
	if err != nil {
		return Decision{}, Fail(ctx, CodeRecordFailed, "the ledger cannot be read", err)
	}
	return r.repeat(decision)
}

// repeat gives the recorded answer of this review's uid, if it is an answer to the same body.
func (r *run) repeat(recorded Decision) (Decision, error) {
	if !r.review.HasDigest(recorded.Digest) {
		return Decision{}, &Error{Code: CodeUIDConflict, Detail: "this uid was decided with another body"}
	}
	r.outcome.Repeated = true
	return recorded, nil
}

func (r *run) facts(ctx context.Context) (Facts, error) {
	defer r.time(StageFacts)()
	return LookUp(ctx, r.gate.Facts, r.review.WorkspaceID, r.gate.Limits.Facts)
}

func (r *run) newDecision(now time.Time) (Decision, error) {
	id, err := NewDecisionID(now)
	if err != nil {
		return Decision{}, fmt.Errorf("making a decision id: %w", err)
	}
	d := Decision{
		ID: id, At: now.UTC().Truncate(time.Microsecond), UID: r.review.UID,
		Hook: r.review.Hook, Caller: r.review.Caller, CallerProof: r.review.CallerProof, Trace: r.review.Trace,
		WorkspaceID: r.review.WorkspaceID, DryRun: r.dry(), Unenforced: r.gate.DryRun && !r.review.DryRun,
		Timings: Timings{Facts: r.outcome.Stages[StageFacts], Policy: r.outcome.Stages[StagePolicy]},
	}
	if d.UID != "" {
		d.Digest = r.review.Digest()
	}
	return d, nil
}

// judge completes d from the facts. It runs once on the way in, and once more when a ledger finds the facts changed. That may
// be on another goroutine while the review's own goes on, so it changes nothing of the review. With an error it returns the
// input that was evaluated.
func (r *run) judge(ctx context.Context, by Evaluator, d Decision, facts Facts) (Judged, error) {
	judged := Judged{Decision: d, Evaluated: NewInput(r.review, facts, r.gate.Deployment)}
	start := r.gate.Now()
	verdict, err := by.Evaluate(ctx, r.rules, judged.Evaluated, d.At)
	judged.Timings.Policy += r.gate.Now().Sub(start)
	if err != nil {
		return judged, err
	}
	judged.Verdict = verdict
	judged.Kind = KindLabel(r.review.Kind, facts.Kind())
	if !r.review.DryRun {
		limited, cancel := deadline.Within(ctx, by.Timeout)
		defer cancel()
		judged.Unmasked = judged.keepInput(limited, r.rules, judged.Evaluated)
	}
	return judged, nil
}

// keepInput keeps the part of in that the rules allow to be kept. If masking fails it keeps nothing. The decision stands
// either way.
func (d *Decision) keepInput(ctx context.Context, rules Ruleset, in Input) error {
	kept, err := mask(ctx, rules, *d, in)
	if err != nil {
		kept.JSON, kept.Redaction = jsontext.Value("null"), ErasedWhole()
	}
	d.Input, d.Redaction, d.Verdict.Revision = kept.JSON, kept.Redaction, kept.Revision
	return err
}

// mask makes a panic an error: it must cost the record its input, and not the decision.
func mask(ctx context.Context, rules Ruleset, d Decision, in Input) (kept RecordedInput, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			kept, err = RecordedInput{Revision: d.Verdict.Revision}, fmt.Errorf("masking panicked: %v", cause)
		}
	}()
	return rules.Mask(ctx, d, in)
}

// record makes the decision durable. From here on it does not matter whether the caller hangs up; otherwise a workspace could
// be denied and left unmarked. The request's deadline still holds.
func (r *run) record(ctx context.Context, d Decision, seen Facts) (Decision, error) {
	deadline, _ := ctx.Deadline()
	detached, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
	defer cancel()

	recorded, err := r.write(detached, d, seen)
	r.saw(recorded)
	if err != nil {
		return Decision{}, Fail(detached, CodeRecordFailed, "the decision cannot be recorded", err)
	}
	if recorded.ID != d.ID {
		return r.repeat(recorded.Decision)
	}
	recorded.UID = d.UID
	return recorded.Decision, nil
}

func (r *run) write(ctx context.Context, d Decision, seen Facts) (Judged, error) {
	defer r.time(StageLedger)()
	if d.Unenforced {
		// The uid is not claimed: once denies are enforced, the same request must be decided and not answered
		// with an allow of before.
		d.UID, d.Digest = "", [sha256.Size]byte{}
	} else if d.Verdict.Marking() != nil && seen.Exists {
		// A fifth of the time of an evaluation is 50 ms by default; it takes microseconds. It takes no turn: the ledger's
		// transactions are bound enough.
		again := Judge(func(ctx context.Context, facts Facts) (Judged, error) {
			return r.judge(ctx, Evaluator{Timeout: r.gate.Limits.Policy}, d, facts)
		})
		return r.gate.Ledger.RecordAndMark(ctx, d, seen, again.Within(r.gate.Limits.Policy/5))
	}
	recorded, err := r.gate.Ledger.Record(ctx, d)
	return Judged{Decision: recorded}, err
}

// keepFailure hands the record of a failed review to the FailureLog, which writes it off the request's path. The record does
// not claim the uid: the same request may come again and is decided then. A mistake of the caller is not recorded: a caller
// could fill the ledger, and it would hide the faults that an operator looks for.
func (r *run) keepFailure(now time.Time) {
	failed := r.outcome.Err
	if r.review.DryRun || r.rules == nil || !failed.Code.IsFault() {
		return
	}
	d, err := r.newDecision(now)
	if err != nil {
		return
	}
	d.Failed = &Failure{Code: failed.Code, Detail: failed.Detail}
	input := r.outcome.Input
	if input.Hook == "" { // there were no facts to evaluate
		input = NewInput(r.review, Facts{}, r.gate.Deployment)
	}
	d.Kind = KindLabel(r.review.Kind, input.Facts.Kind())
	r.gate.Failures.Failed(FailedReview{decision: d, input: input, rules: r.rules})
}

// time adds the time until the returned func is called to a stage.
func (r *run) time(stage Stage) func() {
	start := r.gate.Now()
	return func() { r.outcome.Stages[stage] += r.gate.Now().Sub(start) }
}
