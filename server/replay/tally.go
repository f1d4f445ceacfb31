package replay

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/ledger"
	"github.com/molecule-ai/gatehouse/server/shadow"
)

// tally adds up what workers have found.
type tally struct {
	options   Options
	candidate Candidate
	oldest    time.Time // decision that there is to read

	mutex  sync.Mutex // of the rest
	report Report
	flips  map[flipKey]*shadow.Flip
}

type flipKey struct {
	kind       admission.DivergenceKind
	rule, code string
}

func newTally(candidate Candidate, o Options) *tally {
	return &tally{
		options: o, candidate: candidate, flips: make(map[flipKey]*shadow.Flip),
		report: Report{
			Candidate: candidate, Skipped: Skipped{UnknownHooks: make(map[string]int64), Redacted: make(map[string]int64)},
			Recorded: make(map[string]int64), Flips: []shadow.Flip{},
		},
	}
}

// finish gives the report, once all workers have ended.
func (t *tally) finish() Report {
	for _, flip := range t.flips {
		t.report.Flips = append(t.report.Flips, *flip)
	}
	slices.SortFunc(t.report.Flips, shadow.CompareFlips)
	t.report.Failed = t.report.Count(admission.CandidateError)
	t.report.Flipped = t.report.Evaluated - t.report.Unchanged - t.report.Failed
	return t.report
}

// page evaluates one page. Its error is that of ctx.
func (t *tally) page(ctx context.Context, page []ledger.Decision) error {
	for i := range page {
		err := t.decision(ctx, &page[i].Decision)
		if err != nil {
			return err
		}
	}
	if t.options.Progress != nil {
		t.mutex.Lock()
		defer t.mutex.Unlock()
		t.options.Progress(Progress{Read: t.report.Read, Newest: t.report.Newest, Reached: t.report.Oldest, Oldest: t.oldest})
	}
	return nil
}

// decision evaluates one decision. It counts under the mutex what it has found without.
func (t *tally) decision(ctx context.Context, d *admission.Decision) error {
	input, skip := t.input(d)
	var verdict admission.Verdict
	var err error
	if skip == nil {
		verdict, err = t.options.Evaluator.Evaluate(ctx, t.candidate.Rules, input, d.At)
		if ctx.Err() != nil { // the run ends, and this is no verdict of the candidate
			return ctx.Err()
		}
	}
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.report.Read++
	t.report.Recorded[d.Verdict.Revision]++
	widen(&t.report.Oldest, &t.report.Newest, d.At)
	if skip != nil {
		skip(&t.report.Skipped)
		return nil
	}
	t.report.Evaluated++
	if err != nil {
		t.failed(d, err)
		return nil
	}
	kind, cause, differ := admission.Diverge(d.Verdict, verdict)
	if !differ {
		t.report.Unchanged++
		return nil
	}
	t.flip(shadow.Divergence{Kind: kind, Rule: cause.Rule, Code: cause.Code, Candidate: verdict}, d)
	return nil
}

// failed counts a decision on which the candidate gave no verdict.
func (t *tally) failed(d *admission.Decision, err error) {
	found := shadow.Divergence{Kind: admission.CandidateError, Error: shadow.ErrorText(err)}
	var disagreement *admission.Disagreement
	if errors.As(err, &disagreement) {
		t.report.Disagreed++
		found.Rule = strings.Join(disagreement.Rules, ", ")
	}
	t.flip(found, d)
}

// input gives the input of a decision. If it cannot be compared, skip counts why; else skip is nil.
func (t *tally) input(d *admission.Decision) (in admission.Input, skip func(*Skipped)) {
	redacted := func(pointer string) func(*Skipped) { return func(s *Skipped) { s.Redacted[pointer]++ } }
	switch {
	case d.Failed != nil:
		return in, func(s *Skipped) { s.Failed++ }
	case !t.candidate.Rules.HasHook(d.Hook):
		return in, func(s *Skipped) { s.UnknownHooks[d.Hook]++ }
	}
	if !d.Redaction.Empty() {
		pointer, hidden := d.Redaction.Hides(t.candidate.Rules.ReadPointers(d.Hook))
		if hidden {
			return in, redacted(pointer)
		}
	}
	in, err := admission.ReadInput(d.Input)
	switch {
	case err == nil:
		return in, nil
	case !d.Redaction.Empty(): // what is left is no input
		return in, redacted(d.Redaction.Pointers()[0])
	default:
		return in, func(s *Skipped) { s.Unreadable++ }
	}
}

// flip counts a divergence of d, and keeps it if it is one of the newest.
func (t *tally) flip(found shadow.Divergence, d *admission.Decision) {
	key := flipKey{found.Kind, found.Rule, found.Code}
	flip := t.flips[key]
	if flip == nil {
		flip = &shadow.Flip{Kind: key.kind, Rule: key.rule, Code: key.code, Examples: []shadow.Example{}}
		t.flips[key] = flip
	}
	flip.Count++
	widen(&flip.First, &flip.Last, d.At)
	found.At, found.DecisionID, found.WorkspaceID, found.Hook, found.Live = d.At, d.ID, d.WorkspaceID, d.Hook, d.Verdict
	example := found.Example()
	at, _ := slices.BinarySearchFunc(flip.Examples, example, newestFirst)
	if at < t.options.Examples {
		flip.Examples = slices.Insert(flip.Examples, at, example)
		flip.Examples = flip.Examples[:min(t.options.Examples, len(flip.Examples))]
	}
}

// widen makes a span include a time. The zero span is empty.
func widen(first, last *time.Time, at time.Time) {
	if first.IsZero() || at.Before(*first) {
		*first = at
	}
	if at.After(*last) {
		*last = at
	}
}

func newestFirst(a, b shadow.Example) int {
	return cmp.Or(b.At.Compare(a.At), slices.Compare(b.DecisionID[:], a.DecisionID[:]))
}
