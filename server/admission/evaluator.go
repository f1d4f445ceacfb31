package admission

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/semaphore"

	"github.com/molecule-ai/gatehouse/internal/deadline"
)

// Evaluable is what gives verdicts: a snapshot of policies.
type Evaluable interface {
	// Evaluate decides in; at is what the policies see as the present.
	Evaluate(ctx context.Context, in Input, at time.Time) (Verdict, error)
}

// Turns bound how many evaluations run at once. Evaluations are pure computation: fifty at a time on two cores all take
// twenty-five times as long, and all pass their deadline, where fifty in turn do not.
type Turns interface {
	// Take returns once an evaluation may begin, or when ctx ends.
	Take(ctx context.Context) error
	// Give is called when the evaluation has ended.
	Give()
}

// Holding are the turns of evaluations that somebody waits for. Each holds one while it runs.
type Holding struct{ *semaphore.Weighted }

// Take asks for the end of ctx only if it has to wait.
func (t Holding) Take(ctx context.Context) error {
	if t.TryAcquire(1) {
		return nil
	}
	return t.Acquire(ctx, 1)
}

// Give implements Turns.
func (t Holding) Give() { t.Release(1) }

// Yielding are the turns of evaluations that nobody waits for, such as those of an audit. Each begins once a turn is free and
// gives the turn back at once, so that it never delays an evaluation that somebody waits for.
type Yielding struct{ *semaphore.Weighted }

// Take implements Turns.
func (t Yielding) Take(ctx context.Context) error {
	err := t.Acquire(ctx, 1)
	if err == nil {
		t.Release(1)
	}
	return err
}

// Give implements Turns.
func (Yielding) Give() {}

// Evaluator is how every evaluation is made: live reviews, what-ifs, audits, replays and shadows. It has no state, and
// changes none of its caller's.
type Evaluator struct {
	Turns   Turns         // nil for no bound; the wait does not count against Timeout
	Timeout time.Duration // of one evaluation; 0 for no more than that of ctx
}

// Evaluate gives the verdict of rules on in. Its errors are *Error. A panic becomes one, so that it ends this evaluation and
// not the program.
func (e Evaluator) Evaluate(ctx context.Context, rules Evaluable, in Input, at time.Time) (verdict Verdict, err error) {
	if e.Turns != nil {
		err = e.Turns.Take(ctx)
		if err != nil {
			return Verdict{}, Fail(ctx, CodePolicyError, "no turn to evaluate came", err)
		}
		defer e.Turns.Give()
	}
	limited := ctx
	if e.Timeout > 0 {
		var cancel context.CancelFunc
		limited, cancel = deadline.Within(ctx, e.Timeout)
		defer cancel()
	}
	verdict, err = evaluate(limited, rules, in, at)
	if err != nil {
		return Verdict{}, Fail(ctx, CodePolicyError, "the policies gave no verdict", err)
	}
	return verdict, nil
}

func evaluate(ctx context.Context, rules Evaluable, in Input, at time.Time) (verdict Verdict, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = &Error{Code: CodeInternal, Err: fmt.Errorf("evaluating panicked: %v", cause)}
		}
	}()
	return rules.Evaluate(ctx, in, at)
}

// LookUp reads the facts of a workspace within a deadline of its own. Its errors are *Error.
func LookUp(ctx context.Context, from FactsReader, workspaceID uuid.UUID, timeout time.Duration) (Facts, error) {
	limited, cancel := deadline.Within(ctx, timeout)
	defer cancel()
	facts, err := from.Facts(limited, workspaceID)
	if err != nil {
		return Facts{}, Fail(ctx, CodeFactsUnavailable, "the facts of the workspace cannot be read", err)
	}
	return facts, nil
}
