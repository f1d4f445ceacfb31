package admission

import (
	"context"
	"fmt"
	"time"

	"github.com/molecule-ai/gatehouse/internal/deadline"
)

// Judged is a decision and what it was made from.
type Judged struct {
	Decision
	Evaluated Input // the zero Input if nothing was evaluated
	Unmasked  error // why the input could not be masked and was erased; nil otherwise
}

// Judge decides again on facts that a ledger read under the workspace's lock. A ledger may call it on a goroutine that
// outlives the review. So it returns all that it found, also with an error, and changes nothing of the review.
type Judge func(ctx context.Context, facts Facts) (Judged, error)

// Within gives j a deadline of its own. Meanwhile a transaction holds the locks of all workspaces that it marks, so the limit is
// shorter than that of other evaluations.
func (j Judge) Within(limit time.Duration) Judge {
	return func(ctx context.Context, facts Facts) (Judged, error) {
		limited, cancel := deadline.Within(ctx, limit)
		defer cancel()
		judged, err := j(limited, facts)
		if err != nil && limited.Err() != nil && ctx.Err() == nil {
			err = &Error{Code: CodePolicyError, Detail: "the policies gave no verdict in the time that a workspace may be locked", Err: err}
		}
		return judged, err
	}
}

// Again is how a ledger calls j: a panic is an error. Whatever goes wrong is an error of this one decision, and not of those
// that share its transaction.
func (j Judge) Again(ctx context.Context, facts Facts) (judged Judged, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			judged, err = Judged{}, &Error{Code: CodeInternal, Err: fmt.Errorf("deciding again panicked: %v", cause)}
		}
	}()
	return j(ctx, facts)
}
