package replay

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/ledger"
	"github.com/molecule-ai/gatehouse/server/shadow"
)

// tally is what one worker has found.
type tally struct {
	examples int
	report   Report
	flips    map[flipKey]*shadow.Flip
}

type flipKey struct {
	kind       admission.DivergenceKind
	rule, code string
}

func newTally(examples int) *tally {
	return &tally{examples: examples, report: newReport(), flips: make(map[flipKey]*shadow.Flip)}
}

// page evaluates one page. Its error is that of ctx.
func (t *tally) page(ctx context.Context, rules Rules, o Options, page []ledger.Decision) error {
	for i := range page {
		err := t.decision(ctx, rules, o, &page[i].Decision)
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *tally) decision(ctx context.Context, rules Rules, o Options, d *admission.Decision) error {
	input, comparable := t.input(rules, d)
	if !comparable {
		t.saw(d)
		return nil
	}
	verdict, err := o.Evaluator.Evaluate(ctx, rules, input, d.At)
	if ctx.Err() != nil { // whatever came of it, it came of that
		return ctx.Err()
	}
	t.saw(d)
	t.report.Evaluated++
	if err != nil {
		found := shadow.Divergence{Kind: admission.CandidateError, Error: clip(err.Error())}
		var disagreement *admission.Disagreement
		if errors.As(err, &disagreement) {
			t.report.Disagreed++
			found.Rule = strings.Join(disagreement.Rules, ", ")
		}
		t.flip(found, d, verdict)
		return nil
	}
	kind, cause, differ := admission.Diverge(d.Verdict, verdict)
	if !differ {
		t.report.Unchanged++
		return nil
	}
	t.flip(shadow.Divergence{Kind: kind, Rule: cause.Rule, Code: cause.Code}, d, verdict)
	return nil
}

// input gives the input of a decision, if it can be compared; if not, it counts why.
func (t *tally) input(rules Rules, d *admission.Decision) (in admission.Input, comparable bool) {
	skipped := &t.report.Skipped
	switch {
	case d.Failed != nil:
		skipped.Failed++
		return in, false
	case !rules.HasHook(d.Hook):
		skipped.UnknownHooks[d.Hook]++
		return in, false
	}
	if !d.Redaction.Empty() {
		pointer, hidden := d.Redaction.Hides(rules.ReadPointers(d.Hook))
		if hidden {
			skipped.Redacted[pointer]++
			return in, false
		}
	}
	in, err := admission.ReadInput(d.Input)
	switch {
	case err == nil:
		return in, true
	case !d.Redaction.Empty(): // what is left is no input
		skipped.Redacted[d.Redaction.Pointers()[0]]++
	default:
		skipped.Unreadable++
	}
	return in, false
}

func (t *tally) saw(d *admission.Decision) {
	t.report.Read++
	t.report.Recorded[d.Verdict.Revision]++
	if t.report.Oldest.IsZero() || d.At.Before(t.report.Oldest) {
		t.report.Oldest = d.At
	}
	if d.At.After(t.report.Newest) {
		t.report.Newest = d.At
	}
}

// maxError bounds what a report says of a candidate's error, in bytes.
const maxError = 500

func clip(text string) string {
	if len(text) > maxError {
		return text[:maxError] + "…"
	}
	return text
}

// flip counts a divergence, and keeps it if it is one of the newest.
func (t *tally) flip(found shadow.Divergence, d *admission.Decision, verdict admission.Verdict) {
	key := flipKey{found.Kind, found.Rule, found.Code}
	flip := t.flips[key]
	if flip == nil {
		flip = &shadow.Flip{Kind: key.kind, Rule: key.rule, Code: key.code, First: d.At, Last: d.At, Examples: []shadow.Example{}}
		t.flips[key] = flip
	}
	found.At, found.DecisionID, found.WorkspaceID, found.Hook = d.At, d.ID, d.WorkspaceID, d.Hook
	found.Live, found.Candidate = d.Verdict, verdict
	one := shadow.Flip{Count: 1, First: d.At, Last: d.At}
	if len(flip.Examples) < t.examples || t.examples > 0 && d.At.After(flip.Examples[len(flip.Examples)-1].At) {
		one.Examples = []shadow.Example{found.Example()}
	}
	merge(flip, one, t.examples)
}

// merge adds other to a flip of the same kind.
func merge(into *shadow.Flip, other shadow.Flip, examples int) {
	into.Count += other.Count
	if other.First.Before(into.First) {
		into.First = other.First
	}
	if other.Last.After(into.Last) {
		into.Last = other.Last
	}
	if len(other.Examples) == 0 {
		return
	}
	into.Examples = append(into.Examples, other.Examples...)
	slices.SortFunc(into.Examples, newestFirst)
	into.Examples = into.Examples[:min(examples, len(into.Examples))]
}

func newestFirst(a, b shadow.Example) int {
	if c := b.At.Compare(a.At); c != 0 {
		return c
	}
	return slices.Compare(b.DecisionID[:], a.DecisionID[:])
}
