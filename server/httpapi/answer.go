package httpapi

import (
	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi/respond"
)

// answer is a decision on the wire.
type answer struct {
	UID            string            `json:"uid,omitempty"`
	DecisionID     uuid.UUID         `json:"decision_id"`
	Allowed        bool              `json:"allowed"`
	Status         *answerStatus     `json:"status,omitempty"`
	Violations     []answerViolation `json:"violations"`
	Warnings       []string          `json:"warnings"`
	MarkedFailed   bool              `json:"marked_failed"`
	Event          *admission.Event  `json:"event"`
	PolicyRevision string            `json:"policy_revision"`
	DryRun         bool              `json:"dry_run,omitzero"` // the server enforces nothing
}

// answerStatus is what the registry should answer its own client.
type answerStatus struct {
	Code    int    `json:"code"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

type answerViolation struct {
	Rule        string                `json:"rule"`
	Code        string                `json:"code"`
	Reason      string                `json:"reason"`
	Message     string                `json:"message"`
	Severity    admission.Severity    `json:"severity"`
	Enforcement admission.Enforcement `json:"enforcement"`
}

// newAnswer leaves out violations that are only recorded.
func newAnswer(d admission.Decision) answer {
	verdict := d.Answered()
	a := answer{
		UID: d.UID, DecisionID: d.ID, Allowed: verdict.Allowed(), Status: newAnswerStatus(verdict), DryRun: d.Unenforced,
		Violations: []answerViolation{}, Warnings: []string{},
		MarkedFailed: d.MarkedFailed, Event: d.Event, PolicyRevision: d.Verdict.Revision,
	}
	for _, v := range verdict.Violations {
		if v.Enforcement == admission.Audit {
			continue
		}
		a.Violations = append(a.Violations, answerViolation{v.Rule, v.Code, v.Reason, v.Message, v.Severity, v.Enforcement})
		if v.Enforcement == admission.Warn {
			a.Warnings = append(a.Warnings, v.Message)
		}
	}
	return a
}

func newAnswerStatus(verdict admission.Verdict) *answerStatus {
	denying := verdict.Denying()
	if denying == nil {
		return nil
	}
	message := denying.Answer
	if message == "" {
		message = denying.Message
	}
	return &answerStatus{Code: denying.Status, Reason: denying.Code, Message: message}
}

// batchAnswer holds one entry for each review, in order.
type batchAnswer struct {
	Decisions []any `json:"decisions"` // answer or failedAnswer
}

// failedAnswer stands for a review that got no decision. It says allowed: false, so that a caller that reads
// nothing else is right.
type failedAnswer struct {
	UID     string          `json:"uid,omitempty"`
	Allowed bool            `json:"allowed"`
	Error   respond.Problem `json:"error"`
}
