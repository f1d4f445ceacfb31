package shadow

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// Divergence is one review of which candidate policies say something else than the live ones did. Rule and Code
// are of the violation that makes the difference, "" for an error.
type Divergence struct {
	ID          uuid.UUID // version 7: ordered by time
	At          time.Time // of the decision
	Kind        admission.DivergenceKind
	Rule        string
	Code        string
	DecisionID  uuid.UUID
	WorkspaceID uuid.UUID
	Hook        string
	Live        admission.Verdict
	Candidate   admission.Verdict // its revision alone if Error is set
	Error       string
}

// ErrorText is what is kept of a candidate's error: valid text of a bounded length.
func ErrorText(err error) string {
	const most = 500 // bytes
	text := err.Error()
	if len(text) > most {
		text = text[:most] + "…"
	}
	return strings.ToValidUTF8(text, "�")
}

// Pair names what was compared.
type Pair struct {
	Live      string `json:"live_revision"`
	Candidate string `json:"candidate_revision"`
}

// Counts are the reviews that a candidate was shown. Diverged and Failed ones are among the evaluated.
type Counts struct {
	Evaluated int64 `json:"evaluated"`
	Diverged  int64 `json:"diverged"` // another verdict
	Failed    int64 `json:"failed"`   // no verdict
	Dropped   int64 `json:"dropped"`  // not evaluated, because the queue was full
}

// Summary is what came of the comparison of two sets of policies, of all replicas.
type Summary struct {
	Pair
	Counts
	Updated time.Time `json:"updated"`
	Flips   []Flip    `json:"flips"` // by kind, those that let in more first; then the most frequent first
}

// Flip are the stored divergences of one kind that one rule makes.
type Flip struct {
	Kind     admission.DivergenceKind `json:"kind"`
	Rule     string                   `json:"rule"`
	Code     string                   `json:"code"`
	Count    int64                    `json:"count"`
	First    time.Time                `json:"first"`
	Last     time.Time                `json:"last"`
	Examples []Example                `json:"examples"` // the newest first
}

// Example is one divergence as a summary shows it.
type Example struct {
	DecisionID  uuid.UUID `json:"decision_id"`
	WorkspaceID uuid.UUID `json:"workspace_id"`
	Hook        string    `json:"hook"`
	At          time.Time `json:"at"`
	Live        Verdict   `json:"live"`
	Candidate   Verdict   `json:"candidate"`
	Error       string    `json:"error,omitempty"`
}

// Verdict is a verdict in a summary.
type Verdict struct {
	Allowed    bool                  `json:"allowed"`
	Violations []admission.Violation `json:"violations"`
}

// Example shows d in a summary.
func (d Divergence) Example() Example {
	return Example{
		DecisionID: d.DecisionID, WorkspaceID: d.WorkspaceID, Hook: d.Hook, At: d.At, Error: d.Error,
		Live:      Verdict{Allowed: d.Live.Allowed(), Violations: orEmpty(d.Live.Violations)},
		Candidate: Verdict{Allowed: d.Error == "" && d.Candidate.Allowed(), Violations: orEmpty(d.Candidate.Violations)},
	}
}

func orEmpty(violations []admission.Violation) []admission.Violation {
	if violations == nil {
		return []admission.Violation{}
	}
	return violations
}

// AddExample adds d to the flip that it is of: the last one, or a new one.
func (s *Summary) AddExample(flip Flip, d Divergence, most int) {
	last := len(s.Flips) - 1
	if last < 0 || s.Flips[last].Kind != flip.Kind || s.Flips[last].Rule != flip.Rule || s.Flips[last].Code != flip.Code {
		flip.Examples = []Example{}
		s.Flips = append(s.Flips, flip)
		last++
	}
	if into := &s.Flips[last]; len(into.Examples) < most {
		into.Examples = append(into.Examples, d.Example())
	}
}

// CompareFlips orders flips as a summary has them.
func CompareFlips(a, b Flip) int {
	return cmp.Or(
		cmp.Compare(slices.Index(admission.DivergenceKinds(), a.Kind), slices.Index(admission.DivergenceKinds(), b.Kind)),
		cmp.Compare(b.Count, a.Count),
		cmp.Compare(a.Code, b.Code),
		cmp.Compare(a.Rule, b.Rule),
	)
}
