package httpapi

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
	"github.com/molecule-ai/gatehouse/server/httpapi/auth"
	"github.com/molecule-ai/gatehouse/server/httpapi/respond"
)

// WhatIfOptions are what evaluations without a record need.
type WhatIfOptions struct {
	Policies   Workshop
	Facts      admission.FactsReader
	Deployment admission.Deployment
	Evaluator  admission.Evaluator
	Timeout    time.Duration // of the look-up of facts
}

// Workshop gives policies to try.
type Workshop interface {
	// Live gives the policies that are live now, nil if none are.
	Live() TriedRules
	// Candidate checks policies as those are checked that become live. Errors of the policies are *admission.Error.
	Candidate(ctx context.Context, files map[string]string) (TriedRules, error)
}

// TriedRules is one snapshot of policies that can also say why.
type TriedRules interface {
	admission.Evaluable
	HasHook(hook string) bool
	Rules() []admission.Rule
	Explanation(ctx context.Context, in admission.Input, at time.Time) (admission.Explanation, error)
}

// evaluated is a verdict on the wire.
type evaluated struct {
	Allowed        bool                  `json:"allowed"`
	Status         *answerStatus         `json:"status,omitempty"`
	Violations     []admission.Violation `json:"violations"` // of all enforcements
	Warnings       []string              `json:"warnings"`
	MarksFailed    bool                  `json:"marks_failed"` // the stored workspace would be marked
	Fired          []firedRule           `json:"fired"`
	PolicyRevision string                `json:"policy_revision"`
	*admission.Explanation
}

type firedRule struct {
	Rule string `json:"rule"`
	File string `json:"file"`
	Row  int    `json:"row"`
}

type evaluatedBatch struct {
	Evaluations []any `json:"evaluations"` // evaluated or failedAnswer, in order
}

// evaluate serves POST /v1/evaluate: what would be decided, and nothing is recorded.
func (s *Server) evaluate(w http.ResponseWriter, r *http.Request) error {
	trial, err := respond.Decode(s.respond, w, r, s.respond.Limits.Body, decode.WhatIf)
	if err != nil {
		return err
	}
	rules, err := s.rulesToTry(r.Context(), trial.Candidate)
	if err != nil {
		return err
	}
	answer, err := s.try(r.Context(), rules, trial.WhatIf, trial.Explain)
	if err != nil {
		return err
	}
	s.respond.JSON(w, r, http.StatusOK, answer)
	return nil
}

// evaluateBatch serves POST /v1/evaluate/batch. All of a batch is evaluated by one snapshot of the policies.
func (s *Server) evaluateBatch(w http.ResponseWriter, r *http.Request) error {
	asked, err := respond.Decode(s.respond, w, r, s.respond.Limits.Batch, decode.WhatIfs)
	if err != nil {
		return err
	}
	rules, err := s.rulesToTry(r.Context(), nil)
	if err != nil {
		return err
	}
	if !rules.HasHook(asked[0].Review.Hook) {
		return errUnknownHook()
	}
	uid := func(i int) string { return asked[i].Review.UID }
	answers := s.answerBatch(r, len(asked), uid, func(i int) (any, error) {
		asked[i].Review.Trace = respond.Trace(r)
		return s.try(r.Context(), rules, asked[i], false)
	})
	s.respond.JSON(w, r, http.StatusOK, evaluatedBatch{Evaluations: answers})
	return nil
}

func errUnknownHook() error {
	return &admission.Error{Code: admission.CodeUnknownHook, Detail: "no policy defines this hook"}
}

// rulesToTry gives the live policies, or checks a candidate. Only authors may send one: checking it costs the server many
// evaluations, and its answers can tell anything about stored facts.
func (s *Server) rulesToTry(ctx context.Context, candidate map[string]string) (TriedRules, error) {
	if candidate == nil {
		rules := s.options.WhatIf.Policies.Live()
		if rules == nil {
			return nil, &admission.Error{Code: admission.CodeNotReady, Detail: "no policies are active"}
		}
		return rules, nil
	}
	if caller := auth.CallerOf(ctx); caller.Role != "" && caller.Role != auth.RoleAuthor {
		return nil, &admission.Error{Code: admission.CodeForbidden, Detail: "only an author may try candidate policies"}
	}
	rules, err := s.options.WhatIf.Policies.Candidate(ctx, candidate)
	if err != nil {
		return nil, admission.Fail(ctx, admission.CodePolicyError, "the candidate could not be checked", err)
	}
	return rules, nil
}

func (s *Server) try(ctx context.Context, rules TriedRules, asked admission.WhatIf, explain bool) (*evaluated, error) {
	if !rules.HasHook(asked.Review.Hook) {
		return nil, errUnknownHook()
	}
	facts, err := s.factsToTry(ctx, asked)
	if err != nil {
		return nil, err
	}
	input := admission.NewInput(asked.Review, facts, s.options.WhatIf.Deployment)
	if explain {
		return s.tryExplained(ctx, rules, input)
	}
	verdict, err := s.options.WhatIf.Evaluator.Evaluate(ctx, rules, input, time.Now())
	if err != nil {
		return nil, err
	}
	return newEvaluated(verdict, rules, input.Facts), nil
}

// tryExplained may take all the time of the request: an explanation costs many times an evaluation.
func (s *Server) tryExplained(ctx context.Context, rules TriedRules, input admission.Input) (*evaluated, error) {
	patient, how := s.options.WhatIf.Evaluator, &explaining{TriedRules: rules}
	patient.Timeout = 0
	verdict, err := patient.Evaluate(ctx, how, input, time.Now())
	if err != nil {
		return nil, err
	}
	answer := newEvaluated(verdict, rules, input.Facts)
	answer.Explanation = &how.explained
	return answer, nil
}

// explaining are rules that keep how they came to their verdict.
type explaining struct {
	TriedRules
	explained admission.Explanation
}

// Evaluate implements admission.Evaluable.
func (e *explaining) Evaluate(ctx context.Context, in admission.Input, at time.Time) (verdict admission.Verdict, err error) {
	e.explained, err = e.Explanation(ctx, in, at)
	return e.explained.Verdict, err
}

func (s *Server) factsToTry(ctx context.Context, asked admission.WhatIf) (admission.Facts, error) {
	if asked.Facts != nil {
		return *asked.Facts, nil
	}
	return admission.LookUp(ctx, s.options.WhatIf.Facts, asked.Review.WorkspaceID, s.options.WhatIf.Timeout)
}

func newEvaluated(verdict admission.Verdict, rules TriedRules, facts admission.Facts) *evaluated {
	answer := &evaluated{
		Allowed: verdict.Allowed(), Status: newAnswerStatus(verdict), Violations: verdict.Violations,
		Warnings: warnings(verdict), MarksFailed: facts.WouldMark(verdict), PolicyRevision: verdict.Revision,
	}
	if len(verdict.Violations) > 0 {
		answer.Fired = fired(verdict, rules.Rules())
	}
	return answer
}

// fired tells where the rules are that fired. A rule with several definitions fired in at least one of them.
func fired(verdict admission.Verdict, rules []admission.Rule) []firedRule {
	var places []firedRule
	for _, rule := range rules {
		if slices.ContainsFunc(verdict.Violations, func(v admission.Violation) bool { return v.Rule == rule.Name && v.Code == rule.Code }) {
			places = append(places, firedRule{rule.Name, rule.File, rule.Row})
		}
	}
	return places
}
