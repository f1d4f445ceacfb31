package httpapi

import (
	"cmp"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
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
		Warnings: warnings(verdict), MarkedFailed: d.MarkedFailed, Event: d.Event, PolicyRevision: d.Verdict.Revision,
	}
	for _, v := range verdict.Violations {
		if v.Enforcement != admission.Audit {
			a.Violations = append(a.Violations, answerViolation{v.Rule, v.Code, v.Reason, v.Message, v.Severity, v.Enforcement})
		}
	}
	return a
}

// warnings are the messages of violations that warn.
func warnings(verdict admission.Verdict) (messages []string) {
	for _, v := range verdict.Violations {
		if v.Enforcement == admission.Warn {
			messages = append(messages, v.Message)
		}
	}
	return messages
}

func newAnswerStatus(verdict admission.Verdict) *answerStatus {
	denying := verdict.Denying()
	if denying == nil {
		return nil
	}
	return &answerStatus{Code: denying.Status, Reason: denying.Code, Message: cmp.Or(denying.Answer, denying.Message)}
}

// batchAnswer holds one entry for each review, in order.
type batchAnswer struct {
	Decisions []any `json:"decisions"` // answer or failedAnswer
}
