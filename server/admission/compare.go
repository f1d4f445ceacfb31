package admission

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ErrEvaluatorsDisagree says that two evaluators gave two verdicts on one input by the same policies. One of them is wrong,
// so neither is taken.
var ErrEvaluatorsDisagree = errors.New("evaluators disagree")

// Disagreement is the error of two evaluators that disagree. It names rules and no value of the input.
type Disagreement struct {
	Rules []string // whose entries are not the same, sorted; none if one of the evaluators gave an error
	Err   error    // that the one gave and the other did not; nil if both gave a verdict
}

func (d *Disagreement) Error() string {
	if d.Err != nil {
		return fmt.Sprintf("%v: one gives a verdict and the other an error: %v", ErrEvaluatorsDisagree, d.Err)
	}
	return fmt.Sprintf("%v on rule %s", ErrEvaluatorsDisagree, strings.Join(d.Rules, ", "))
}

// Is makes every disagreement ErrEvaluatorsDisagree.
func (*Disagreement) Is(target error) bool { return target == ErrEvaluatorsDisagree }

// Both decides by two evaluators of the same policies, and gives a verdict only where they agree. It is for whoever has the
// time: the reference takes ten times as long as the fast one.
type Both struct {
	Fast, Reference Evaluable
}

// Evaluate implements Evaluable. Where both give an error, it is that of the reference.
func (b Both) Evaluate(ctx context.Context, in Input, at time.Time) (Verdict, error) {
	fast, failed := b.Fast.Evaluate(ctx, in, at)
	reference, err := b.Reference.Evaluate(ctx, in, at)
	switch {
	case ctx.Err() != nil: // which of them has had the time for a verdict is chance
		return Verdict{}, fmt.Errorf("evaluating: %w", ctx.Err())
	case failed != nil && err != nil:
		return Verdict{}, err
	case failed != nil || err != nil:
		return Verdict{}, &Disagreement{Err: errors.Join(failed, err)}
	}
	return reference, Compare(fast, reference)
}

// Compare gives a *Disagreement where two verdicts on one input are not the same, to the letter of their messages.
func Compare(a, b Verdict) error {
	if slices.Equal(a.Violations, b.Violations) {
		return nil
	}
	var rules []string
	for _, only := range [][2]Verdict{{a, b}, {b, a}} {
		for _, v := range only[0].Violations {
			if count(only[0].Violations, v) != count(only[1].Violations, v) {
				rules = append(rules, v.Rule)
			}
		}
	}
	slices.Sort(rules)
	return &Disagreement{Rules: slices.Compact(rules)}
}

func count(violations []Violation, one Violation) (n int) {
	for _, v := range violations {
		if v == one {
			n++
		}
	}
	return n
}

// DivergenceKind says how a candidate's verdict is not the live one.
type DivergenceKind string

// The kinds, in the order in which an author wants to hear of them.
const (
	DenyToAllow    DivergenceKind = "deny_to_allow" // the candidate lets in what is kept out
	AllowToDeny    DivergenceKind = "allow_to_deny"
	VerdictChanged DivergenceKind = "changed" // as allowed as before, for other reasons or with other effects
	CandidateError DivergenceKind = "error"   // the candidate gave no verdict: live, it would answer with an error
)

// DivergenceKinds are all of them, in order.
func DivergenceKinds() []DivergenceKind {
	return []DivergenceKind{DenyToAllow, AllowToDeny, VerdictChanged, CandidateError}
}

// Diverge compares two verdicts of one input: what is answered, and of each violation its code, reason,
// enforcement, status and mark. Messages may be worded anew and rules be renamed. It gives false where nothing
// differs.
func Diverge(live, candidate Verdict) (kind DivergenceKind, cause Violation, differ bool) {
	switch {
	case !live.Allowed() && candidate.Allowed():
		return DenyToAllow, *live.Denying(), true
	case live.Allowed() && !candidate.Allowed():
		return AllowToDeny, *candidate.Denying(), true
	}
	if only := missing(live.Violations, candidate.Violations); only != nil {
		return VerdictChanged, *only, true
	}
	if only := missing(candidate.Violations, live.Violations); only != nil {
		return VerdictChanged, *only, true
	}
	if denying := live.Denying(); denying != nil && !sameEffect(*denying, *candidate.Denying()) {
		return VerdictChanged, *candidate.Denying(), true
	}
	return "", Violation{}, false
}

// missing is the first violation that is not as often among others as among all, nil if there is none.
func missing(all, others []Violation) *Violation {
	left := slices.Clone(others)
	for i := range all {
		at := slices.IndexFunc(left, func(v Violation) bool { return sameEffect(v, all[i]) })
		if at < 0 {
			return &all[i]
		}
		left = slices.Delete(left, at, at+1)
	}
	return nil
}

func sameEffect(a, b Violation) bool {
	return cmp.Or(
		cmp.Compare(a.Code, b.Code), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Enforcement, b.Enforcement),
		cmp.Compare(a.Status, b.Status),
	) == 0 && a.MarkFailed == b.MarkFailed
}
