package snapshot

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/molecule-ai/gatehouse/adapters/opa/check"
	"github.com/molecule-ai/gatehouse/adapters/opa/regoval"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// Evaluate decides one input. It stops when ctx ends. An undefined or malformed result is an error and never an allow.
func (s *Snapshot) Evaluate(ctx context.Context, in admission.Input, at time.Time) (admission.Verdict, error) {
	if s.byOPA.Load() {
		return s.reference(ctx, in, at)
	}
	return s.fast(ctx, in, at)
}

// fast decides by the fast path. Where that cannot tell, OPA decides with its assistance.
func (s *Snapshot) fast(ctx context.Context, in admission.Input, at time.Time) (admission.Verdict, error) {
	return s.decide(ctx, in, func(h *hook) ([][]*ast.Term, error) {
		entries, told := h.byFastPath(&in)
		if told {
			return entries, nil
		}
		return h.byAssistedOPA(ctx, in, at)
	})
}

// reference decides without the fast path.
func (s *Snapshot) reference(ctx context.Context, in admission.Input, at time.Time) (admission.Verdict, error) {
	return s.EvaluateWatched(ctx, in, at)
}

// Watch sets up a query so that somebody sees how OPA evaluates it.
type Watch func(*topdown.Query)

// TracedBy lets a tracer see every step.
func TracedBy(tracer topdown.QueryTracer) Watch {
	return func(query *topdown.Query) { query.WithQueryTracer(tracer) }
}

// EvaluateWatched decides by OPA alone, by the rules as they are written.
func (s *Snapshot) EvaluateWatched(ctx context.Context, in admission.Input, at time.Time, watch ...Watch) (admission.Verdict, error) {
	return s.decide(ctx, in, func(h *hook) ([][]*ast.Term, error) { return h.byOPA(ctx, in, at, watch...) })
}

// EvaluableFunc is a way of evaluating.
type EvaluableFunc func(ctx context.Context, in admission.Input, at time.Time) (admission.Verdict, error)

// Evaluate implements admission.Evaluable.
func (f EvaluableFunc) Evaluate(ctx context.Context, in admission.Input, at time.Time) (admission.Verdict, error) {
	return f(ctx, in, at)
}

// Reference decides by OPA alone.
func (s *Snapshot) Reference() admission.Evaluable { return EvaluableFunc(s.reference) }

// ByOPA says whether OPA decides everything.
func (s *Snapshot) ByOPA() bool { return s.byOPA.Load() }

// DistrustFastPath has OPA decide everything from now on.
func (s *Snapshot) DistrustFastPath() { s.byOPA.Store(true) }

// WithoutFastPath has OPA decide everything for good, because an operator says so.
func (s *Snapshot) WithoutFastPath() {
	s.never = true
	s.byOPA.Store(true)
}

// Checked are policies that decide both by the fast path and by OPA. Where the two differ there is no verdict, and the fast path
// is turned off for the policies wherever they serve. Checked itself goes on to compare.
type Checked struct{ *Snapshot }

// Checked gives s for callers that have the time to decide twice.
func (s *Snapshot) Checked() Checked { return Checked{s} }

// Evaluate implements admission.Evaluable.
func (c Checked) Evaluate(ctx context.Context, in admission.Input, at time.Time) (admission.Verdict, error) {
	if c.never {
		return c.reference(ctx, in, at)
	}
	verdict, err := admission.Both{Fast: EvaluableFunc(c.fast), Reference: c.Reference()}.Evaluate(ctx, in, at)
	if errors.Is(err, admission.ErrEvaluatorsDisagree) {
		c.byOPA.Store(true)
		if c.origin != nil {
			c.origin.byOPA.Store(true)
		}
	}
	return verdict, err
}

// decide makes a verdict of the entries that find gives for the hook.
func (s *Snapshot) decide(ctx context.Context, in admission.Input, find func(*hook) ([][]*ast.Term, error)) (admission.Verdict, error) {
	hook, found := s.hooks[in.Hook]
	if !found {
		return admission.Verdict{}, fmt.Errorf("no policy defines hook %q", in.Hook)
	}
	var entries [][]*ast.Term
	err := regoval.Recovering(func() (err error) {
		entries, err = find(hook)
		return err
	})
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return admission.Verdict{}, fmt.Errorf("evaluating: %w", err)
	}
	return s.verdict(hook.sets, entries)
}

var errUndefined = errors.New("the result is undefined")

func entriesOf(name string, term *ast.Term) ([]*ast.Term, error) {
	set, isSet := term.Value.(ast.Set)
	if !isSet {
		return nil, fmt.Errorf("%s is no set", name)
	}
	return set.Slice(), nil
}

// verdict joins the entries of sets.
func (s *Snapshot) verdict(names []string, entries [][]*ast.Term) (admission.Verdict, error) {
	var violations []admission.Violation
	for i, name := range names {
		for _, entry := range entries[i] {
			violation, err := s.violation(entry, admission.Enforcement(name))
			if err != nil {
				return admission.Verdict{}, fmt.Errorf("%s: %w", name, err)
			}
			violations = append(violations, violation)
		}
	}
	return admission.NewVerdict(violations, s.loaded.Revision), nil
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
			status, err := check.ReadStatus(v.String())
			violation.Status = status
			return err
		}
	}
	return fmt.Errorf("an entry has a %s that is %s", string(name), ast.ValueName(value.Value))
}
