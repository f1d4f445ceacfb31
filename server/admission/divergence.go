package admission

import (
	"cmp"
	"slices"
	"time"

	"github.com/google/uuid"
)

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

// Divergence is one review of which candidate policies say something else than the live ones did. Rule and Code
// are of the violation that makes the difference, "" for an error.
type Divergence struct {
	ID          uuid.UUID // version 7: ordered by time
	At          time.Time // of the decision
	Kind        DivergenceKind
	Rule        string
	Code        string
	DecisionID  uuid.UUID
	WorkspaceID uuid.UUID
	Hook        string
	Live        Verdict
	Candidate   Verdict // its revision alone if Error is set
	Error       string
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

// ShadowPair names what was compared.
type ShadowPair struct {
	Live      string `json:"live_revision"`
	Candidate string `json:"candidate_revision"`
}

// ShadowCounts are the reviews that a candidate was shown. Diverged and Failed ones are among the evaluated.
type ShadowCounts struct {
	Evaluated int64 `json:"evaluated"`
	Diverged  int64 `json:"diverged"` // another verdict
	Failed    int64 `json:"failed"`   // no verdict
	Dropped   int64 `json:"dropped"`  // not evaluated, because the queue was full
}

// ShadowSummary is what came of the comparison of two sets of policies, of all replicas.
type ShadowSummary struct {
	ShadowPair
	ShadowCounts
	Updated time.Time    `json:"updated"`
	Flips   []ShadowFlip `json:"flips"` // by kind, those that let in more first; then the most frequent first
}

// ShadowFlip are the stored divergences of one kind that one rule makes.
type ShadowFlip struct {
	Kind     DivergenceKind  `json:"kind"`
	Rule     string          `json:"rule"`
	Code     string          `json:"code"`
	Count    int64           `json:"count"`
	First    time.Time       `json:"first"`
	Last     time.Time       `json:"last"`
	Examples []ShadowExample `json:"examples"` // the newest first
}

// ShadowExample is one divergence as a summary shows it.
type ShadowExample struct {
	DecisionID  uuid.UUID     `json:"decision_id"`
	WorkspaceID uuid.UUID     `json:"workspace_id"`
	Hook        string        `json:"hook"`
	At          time.Time     `json:"at"`
	Live        ShadowVerdict `json:"live"`
	Candidate   ShadowVerdict `json:"candidate"`
	Error       string        `json:"error,omitempty"`
}

// ShadowVerdict is a verdict in a summary.
type ShadowVerdict struct {
	Allowed    bool        `json:"allowed"`
	Violations []Violation `json:"violations"`
}

// Example shows d in a summary.
func (d Divergence) Example() ShadowExample {
	return ShadowExample{
		DecisionID: d.DecisionID, WorkspaceID: d.WorkspaceID, Hook: d.Hook, At: d.At, Error: d.Error,
		Live:      ShadowVerdict{Allowed: d.Live.Allowed(), Violations: orEmpty(d.Live.Violations)},
		Candidate: ShadowVerdict{Allowed: d.Error == "" && d.Candidate.Allowed(), Violations: orEmpty(d.Candidate.Violations)},
	}
}

func orEmpty(violations []Violation) []Violation {
	if violations == nil {
		return []Violation{}
	}
	return violations
}

// AddExample adds d to the flip that it is of: the last one, or a new one.
func (s *ShadowSummary) AddExample(flip ShadowFlip, d Divergence, most int) {
	last := len(s.Flips) - 1
	if last < 0 || s.Flips[last].Kind != flip.Kind || s.Flips[last].Rule != flip.Rule || s.Flips[last].Code != flip.Code {
		flip.Examples = []ShadowExample{}
		s.Flips = append(s.Flips, flip)
		last++
	}
	if into := &s.Flips[last]; len(into.Examples) < most {
		into.Examples = append(into.Examples, d.Example())
	}
}

// CompareFlips orders flips as a summary has them.
func CompareFlips(a, b ShadowFlip) int {
	return cmp.Or(
		cmp.Compare(slices.Index(DivergenceKinds(), a.Kind), slices.Index(DivergenceKinds(), b.Kind)),
		cmp.Compare(b.Count, a.Count),
		cmp.Compare(a.Code, b.Code),
		cmp.Compare(a.Rule, b.Rule),
	)
}
