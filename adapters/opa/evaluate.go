package opa

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"gatehouse/server/admission"
)

// Evaluate decides one input. The evaluation stops when ctx does; an undefined or malformed result is an
// error and never an allow.
func (s *Snapshot) Evaluate(ctx context.Context, in admission.Input, at time.Time) (admission.Verdict, error) {
	return s.evaluateWatched(ctx, in, at)
}

// evaluateWatched also takes what the evaluation is to be watched by.
func (s *Snapshot) evaluateWatched(
	ctx context.Context, in admission.Input, at time.Time, watch ...rego.EvalOption,
) (admission.Verdict, error) {
	query, found := s.queries[in.Hook]
	if !found {
		return admission.Verdict{}, fmt.Errorf("no policy defines hook %q", in.Hook)
	}
	input, err := inputValue(in)
	if err != nil {
		return admission.Verdict{}, fmt.Errorf("building the input: %w", err)
	}
	return s.evaluate(ctx, query, input, at, watch...)
}

func (s *Snapshot) evaluate(
	ctx context.Context, query rego.PreparedEvalQuery, input ast.Value, at time.Time, more ...rego.EvalOption,
) (admission.Verdict, error) {
	options := append([]rego.EvalOption{
		rego.EvalParsedInput(input), rego.EvalTime(at), rego.EvalGenerateJSON(rawValue),
	}, more...)
	results, err := evalQuery(ctx, query, options)
	if err != nil {
		return admission.Verdict{}, fmt.Errorf("evaluating: %w", err)
	}
	// A query that is cancelled at its very end can come back empty-handed and without an error.
	if ctx.Err() != nil {
		return admission.Verdict{}, fmt.Errorf("evaluating: %w", ctx.Err())
	}
	if len(results) != 1 || len(results[0].Expressions) != 1 {
		return admission.Verdict{}, errors.New("the result is undefined")
	}
	object, isObject := results[0].Expressions[0].Value.(ast.Object)
	if !isObject {
		return admission.Verdict{}, errors.New("the result is no object of sets")
	}
	return s.verdict(object)
}

// evalQuery makes a panic of the engine an error like any other: it has panicked on numbers before, and the
// rest of the review's way, the ledger's transaction above all, must end as it does after an error.
func evalQuery(ctx context.Context, query rego.PreparedEvalQuery, options []rego.EvalOption) (results rego.ResultSet, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("the engine panicked: %v", cause)
		}
	}()
	return query.Eval(ctx, options...)
}

func rawValue(term *ast.Term, _ *rego.EvalContext) (any, error) { return term.Value, nil }

func (s *Snapshot) verdict(result ast.Object) (admission.Verdict, error) {
	var violations []admission.Violation
	for _, name := range sets {
		term := result.Get(ast.InternedTerm(name))
		if term == nil {
			continue
		}
		set, isSet := term.Value.(ast.Set)
		if !isSet {
			return admission.Verdict{}, fmt.Errorf("%s is no set", name)
		}
		for _, entry := range set.Slice() {
			violation, err := s.violation(entry, admission.Enforcement(name))
			if err != nil {
				return admission.Verdict{}, fmt.Errorf("%s: %w", name, err)
			}
			violations = append(violations, violation)
		}
	}
	return admission.NewVerdict(violations, s.revision), nil
}

// violation joins an entry with the metadata of the rule that made it.
func (s *Snapshot) violation(entry *ast.Term, enforcement admission.Enforcement) (admission.Violation, error) {
	object, isObject := entry.Value.(ast.Object)
	if !isObject {
		return admission.Violation{}, errors.New("an entry is no object")
	}
	rule, err := s.ruleOf(object)
	if err != nil {
		return admission.Violation{}, err
	}
	violation := admission.Violation{
		Rule: rule.Name, Code: rule.Code, Severity: rule.Severity, Enforcement: enforcement,
		Status: rule.Status, MarkFailed: rule.MarkFailed, Answer: rule.Answer,
	}
	err = object.Iter(func(key, value *ast.Term) error { return setMember(&violation, key, value) })
	if err != nil {
		return admission.Violation{}, fmt.Errorf("rule %s: %w", rule.Name, err)
	}
	if violation.Reason == "" || violation.Message == "" {
		return admission.Violation{}, fmt.Errorf("rule %s: an entry has no reason or no message", rule.Name)
	}
	if override, found := s.override[rule.Code]; found && override != enforcement {
		violation.Enforcement, violation.Declared = override, enforcement
	}
	return violation, nil
}

func (s *Snapshot) ruleOf(entry ast.Object) (admission.Rule, error) {
	tag := entry.Get(ast.InternedTerm(tagKey))
	if tag == nil {
		return admission.Rule{}, errors.New("an entry comes from a rule without a code in its metadata")
	}
	number, isNumber := tag.Value.(ast.Number)
	index, isInt := number.Int()
	if !isNumber || !isInt || index < 0 || index >= len(s.rules) {
		return admission.Rule{}, errors.New("an entry names no rule")
	}
	return s.rules[index], nil
}

func setMember(violation *admission.Violation, key, value *ast.Term) error {
	name, _ := key.Value.(ast.String)
	switch v := value.Value.(type) {
	case ast.String:
		switch name {
		case "reason":
			violation.Reason = string(v)
			return nil
		case "message":
			violation.Message = string(v)
			return nil
		}
	case ast.Boolean:
		if name == "mark_failed" {
			violation.MarkFailed = bool(v)
			return nil
		}
	case ast.Number:
		switch name {
		case tagKey:
			return nil
		case "status":
			status, err := readStatus(v.String())
			violation.Status = status
			return err
		}
	}
	return fmt.Errorf("an entry has a %s that is %s", string(name), ast.ValueName(value.Value))
}
