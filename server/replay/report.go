package replay

import (
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
