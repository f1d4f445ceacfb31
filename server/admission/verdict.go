package admission

import (
	"cmp"
	"slices"
)

// Severity orders violations: the first by severity, then by code, gives the answer's status.
type Severity string

// From the gravest to the least.
const (
	Critical Severity = "critical"
	High     Severity = "high"
	Medium   Severity = "medium"
	Low      Severity = "low"
)

var severities = []Severity{Critical, High, Medium, Low}

// Known says whether s is one of the severities.
func (s Severity) Known() bool { return slices.Contains(severities, s) }

// Enforcement is what a violation does.
type Enforcement string

// Deny refuses the workspace, Warn is told to the caller, Audit is only recorded.
const (
	Deny  Enforcement = "deny"
	Warn  Enforcement = "warn"
	Audit Enforcement = "audit"
)

// Known says whether e is one of the enforcements.
func (e Enforcement) Known() bool { return e == Deny || e == Warn || e == Audit }

// Violation is one entry of a rule that fired, with what the rule's metadata says of it.
type Violation struct {
	Rule        string      `json:"rule"`
	Code        string      `json:"code"`
	Reason      string      `json:"reason"`
	Message     string      `json:"message"` // for operators: the event's error and last_sample_error
	Severity    Severity    `json:"severity"`
	Enforcement Enforcement `json:"enforcement"`
	Status      int         `json:"status"`           // HTTP status that the registry should answer
	MarkFailed  bool        `json:"mark_failed"`      // a deny marks the stored workspace failed
	Answer      string      `json:"answer,omitempty"` // what the registry's client is told; message if ""
	// Declared is the set that the rule put its entry in, deny or warn, where data.enforcement makes it something
	// else. It is "" where Enforcement is the rule's own, and in records of before there was this member.
	Declared Enforcement `json:"declared,omitempty"`
}

// Says is what the violation's rule itself says, whatever enforcement made of it.
func (v Violation) Says() Enforcement {
	if v.Declared != "" {
		return v.Declared
	}
	return v.Enforcement
}

// Verdict is what one revision of the policies says of one input.
type Verdict struct {
	Violations []Violation // in order of severity, code, reason, rule, message
	Revision   string
}

// NewVerdict orders the violations, so that equal inputs give equal verdicts.
func NewVerdict(violations []Violation, revision string) Verdict {
	slices.SortFunc(violations, func(a, b Violation) int {
		return cmp.Or(
			cmp.Compare(slices.Index(severities, a.Severity), slices.Index(severities, b.Severity)),
			cmp.Compare(a.Code, b.Code),
			cmp.Compare(a.Reason, b.Reason),
			cmp.Compare(a.Rule, b.Rule),
			cmp.Compare(a.Message, b.Message),
		)
	})
	return Verdict{Violations: violations, Revision: revision}
}

// Lenient is the verdict with warnings in place of denies: the answer of a server that enforces nothing yet.
func (v Verdict) Lenient() Verdict {
	lenient := slices.Clone(v.Violations)
	for i := range lenient {
		if lenient[i].Enforcement == Deny {
			lenient[i].Declared, lenient[i].Enforcement = lenient[i].Says(), Warn
		}
		if lenient[i].Declared == lenient[i].Enforcement {
			lenient[i].Declared = ""
		}
	}
	return Verdict{Violations: lenient, Revision: v.Revision}
}

// Allowed says whether nothing denies.
func (v Verdict) Allowed() bool { return v.Denying() == nil }

// Denying is the violation that gives the answer, nil if nothing denies.
func (v Verdict) Denying() *Violation {
	return v.first(func(x *Violation) bool { return x.Enforcement == Deny })
}

// Marking is the violation that marks the workspace failed and that the event speaks of, nil if none does.
func (v Verdict) Marking() *Violation {
	return v.first(func(x *Violation) bool { return x.Enforcement == Deny && x.MarkFailed })
}

func (v Verdict) first(match func(*Violation) bool) *Violation {
	for i := range v.Violations {
		if match(&v.Violations[i]) {
			return &v.Violations[i]
		}
	}
	return nil
}
