package replay

import (
	"slices"
	"time"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/shadow"
)

// Report is what came of a run.
type Report struct {
	Candidate Candidate `json:"candidate"`
	Read      int64     `json:"read"`      // decisions
	Evaluated int64     `json:"evaluated"` // those that could be compared
	Unchanged int64     `json:"unchanged"`
	Flipped   int64     `json:"flipped"`   // evaluated ones with another verdict
	Failed    int64     `json:"failed"`    // evaluated ones that the candidate gave no verdict of
	Disagreed int64     `json:"disagreed"` // failed ones on which its evaluators disagree
	Skipped   Skipped   `json:"skipped"`
	// Recorded counts the decisions by the revision of the policies that made them.
	Recorded map[string]int64 `json:"recorded_revisions"`
	Oldest   time.Time        `json:"oldest,omitzero"`
	Newest   time.Time        `json:"newest,omitzero"`
	Flips    []shadow.Flip    `json:"flips"` // by kind, those that let in more first; then the most frequent first
}

// Skipped are decisions that were not compared, by the reason.
type Skipped struct {
	Failed       int64            `json:"failed"`        // an error was answered: there is no verdict
	Unreadable   int64            `json:"unreadable"`    // the record's input is none
	UnknownHooks map[string]int64 `json:"unknown_hooks"` // that the candidate does not define, by name
	Redacted     map[string]int64 `json:"redacted"`      // the candidate reads what is erased or masked, by its pointer
}

// Total is how many were skipped.
func (s Skipped) Total() int64 {
	total := s.Failed + s.Unreadable
	for _, count := range s.UnknownHooks {
		total += count
	}
	return total + s.RedactedTotal()
}

// RedactedTotal is how many were skipped because of what is erased or masked.
func (s Skipped) RedactedTotal() int64 {
	var total int64
	for _, count := range s.Redacted {
		total += count
	}
	return total
}

func newReport() Report {
	return Report{
		Skipped:  Skipped{UnknownHooks: make(map[string]int64), Redacted: make(map[string]int64)},
		Recorded: make(map[string]int64), Flips: []shadow.Flip{},
	}
}

// Count is the number of flips of a kind.
func (r Report) Count(kind admission.DivergenceKind) int64 {
	var count int64
	for _, flip := range r.Flips {
		if flip.Kind == kind {
			count += flip.Count
		}
	}
	return count
}

func reportOf(candidate Candidate, tallies []*tally) Report {
	sum := newReport()
	sum.Candidate = candidate
	flips := make(map[flipKey]*shadow.Flip)
	for _, t := range tallies {
		sum.add(&t.report)
		for key, flip := range t.flips {
			if into := flips[key]; into != nil {
				merge(into, *flip, t.examples)
			} else {
				flips[key] = flip
			}
		}
	}
	for _, flip := range flips {
		sum.Flips = append(sum.Flips, *flip)
	}
	slices.SortFunc(sum.Flips, shadow.CompareFlips)
	sum.Failed = sum.Count(admission.CandidateError)
	sum.Flipped = sum.Evaluated - sum.Unchanged - sum.Failed
	return sum
}

func (r *Report) add(other *Report) {
	r.Read += other.Read
	r.Evaluated += other.Evaluated
	r.Unchanged += other.Unchanged
	r.Disagreed += other.Disagreed
	r.Skipped.Failed += other.Skipped.Failed
	r.Skipped.Unreadable += other.Skipped.Unreadable
	addCounts(r.Skipped.UnknownHooks, other.Skipped.UnknownHooks)
	addCounts(r.Skipped.Redacted, other.Skipped.Redacted)
	addCounts(r.Recorded, other.Recorded)
	if r.Oldest.IsZero() || !other.Oldest.IsZero() && other.Oldest.Before(r.Oldest) {
		r.Oldest = other.Oldest
	}
	if other.Newest.After(r.Newest) {
		r.Newest = other.Newest
	}
}

func addCounts(into, from map[string]int64) {
	for key, count := range from {
		into[key] += count
	}
}
