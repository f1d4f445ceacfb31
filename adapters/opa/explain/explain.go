// Package explain tells authors why policies decided as they did: where each rule stopped, which lines were reached, and what
// each rule costs. It watches OPA's evaluation of the rules as they are written, which takes many times longer than a decision.
package explain

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/topdown/lineage"

	"github.com/molecule-ai/gatehouse/adapters/opa/regoval"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// Explanation says of every rule of a hook whether it fired on one input and, if not, where it stopped. It is for authors: it
// holds values of the input.
type Explanation struct {
	admission.Explanation
	trace  []*topdown.Event
	bodies map[string][]*ast.Rule // by the name of the rule
}

// Review gives the same verdict as Checked, and says of every rule of the hook what it did.
func Review(ctx context.Context, s *snapshot.Snapshot, in admission.Input, at time.Time) (Explanation, error) {
	// The index and the early exit would leave out rules that cannot hold. These are the rules to be explained.
	buffer, coverage := topdown.NewBufferTracer(), cover.New()
	verdict, err := s.EvaluateWatched(ctx, in, at,
		snapshot.TracedBy(buffer), snapshot.TracedBy(coverage),
		func(query *topdown.Query) { query.WithIndexing(false).WithEarlyExit(false) })
	if err != nil {
		return Explanation{}, err
	}
	decided, err := s.Checked().Evaluate(ctx, in, at)
	if err == nil {
		err = admission.Compare(decided, verdict)
	}
	if err != nil {
		return Explanation{}, err
	}
	input, err := regoval.Input(in)
	if err != nil {
		return Explanation{}, fmt.Errorf("building the input: %w", err)
	}
	x := &explainer{snapshot: s, input: input, attempts: make(map[*ast.Rule][]*attempt)}
	x.read(*buffer)
	explanation := Explanation{trace: *buffer, bodies: make(map[string][]*ast.Rule)}
	explanation.Verdict, explanation.Coverage = verdict, reached(s, coverage)
	for _, rule := range s.RulesOf(in.Hook) {
		bodies := s.Bodies(rule)
		explanation.bodies[rule.Name] = append(explanation.bodies[rule.Name], bodies...)
		explained := admission.RuleExplanation{Rule: rule, Fired: fires(verdict, rule) && slices.ContainsFunc(bodies, x.held)}
		if !explained.Fired {
			explained.Why = x.why(rule, bodies)
		}
		explanation.Rules = append(explanation.Rules, explained)
	}
	return explanation, nil
}

// reached is the coverage of the files that the evaluation used: other files are for other hooks.
func reached(s *snapshot.Snapshot, coverage *cover.Cover) []admission.FileCoverage {
	return slices.DeleteFunc(Files(coverage, s.Compiler().Modules), func(file admission.FileCoverage) bool {
		return file.Percent == 0
	})
}

func fires(verdict admission.Verdict, rule admission.Rule) bool {
	return slices.ContainsFunc(verdict.Violations, func(v admission.Violation) bool { return v.Rule == rule.Name })
}

// WriteTrace prints what OPA did inside a rule: everything, or only the way to the expression that failed.
func (e Explanation) WriteTrace(w io.Writer, rule string, onlyFails bool) {
	inside := make(map[uint64]bool)
	var events []*topdown.Event
	for _, event := range e.trace {
		body, isBody := event.Node.(*ast.Rule)
		if isBody && slices.Contains(e.bodies[rule], body) || inside[event.ParentID] {
			inside[event.QueryID] = true
		}
		if inside[event.QueryID] && !isTagging(event) {
			events = append(events, withoutTag(event))
		}
	}
	if onlyFails {
		events = lineage.Fails(events)
	} else {
		events = lineage.Full(events)
	}
	topdown.PrettyTraceWithOpts(w, events, topdown.PrettyTraceOptions{Locations: true, ExprVariables: true})
}

// isTagging says whether the event is of the expression that the engine added to tag the entry.
func isTagging(event *topdown.Event) bool {
	expr, isExpr := event.Node.(*ast.Expr)
	return isExpr && mentions(expr, snapshot.TaggedVar)
}

// withoutTag leaves the tagged entry out of the event of a rule's head.
func withoutTag(event *topdown.Event) *topdown.Event {
	if !event.HasRule() {
		return event
	}
	told := *event
	told.LocalMetadata = maps.Clone(event.LocalMetadata)
	delete(told.LocalMetadata, snapshot.TaggedVar)
	return &told
}

func mentions(expr *ast.Expr, name ast.Var) bool {
	found := false
	ast.WalkVars(expr, func(v ast.Var) bool {
		found = found || v == name
		return found
	})
	return found
}

// attempt is one evaluation of a rule's body.
type attempt struct {
	rule    *ast.Rule
	held    bool
	failed  *topdown.Event // at the expression that came furthest
	entered int            // where in the trace
	window  [2]int         // of the trace, in which the expression was evaluated that failed
}

func (a *attempt) progress() int {
	if a.failed == nil {
		return -1
	}
	return a.failed.Node.(*ast.Expr).Index
}

type explainer struct {
	snapshot *snapshot.Snapshot
	input    ast.Value
	attempts map[*ast.Rule][]*attempt // by the body
}

func (x *explainer) read(trace []*topdown.Event) {
	byQuery := make(map[uint64]*attempt)
	evaluated := make(map[uint64]int)
	for i, event := range trace {
		tried := byQuery[event.QueryID]
		switch node := event.Node.(type) {
		case *ast.Rule:
			switch {
			case event.Op == topdown.EnterOp:
				byQuery[event.QueryID] = &attempt{rule: node, entered: i}
				x.attempts[node] = append(x.attempts[node], byQuery[event.QueryID])
			case event.Op == topdown.ExitOp && tried != nil:
				tried.held = true
			}
		case *ast.Expr:
			if event.Op == topdown.EvalOp {
				evaluated[event.QueryID] = i
			}
			if event.Op == topdown.FailOp && tried != nil && node.Index > tried.progress() && !mentions(node, snapshot.TaggedVar) {
				tried.failed, tried.window = event, [2]int{evaluated[event.QueryID], i}
			}
		}
	}
}

func (x *explainer) held(body *ast.Rule) bool { return anyHeld(x.attempts[body]) }

func anyHeld(attempts []*attempt) bool {
	return slices.ContainsFunc(attempts, func(a *attempt) bool { return a.held })
}

// attemptsFor are the attempts of a rule that belong to a caller's attempt. A rule is evaluated only once, and its value is the
// same for every caller. A function is evaluated for each call.
func (x *explainer) attemptsFor(caller *attempt, rule *ast.Rule) []*attempt {
	all := x.attempts[rule]
	if len(rule.Head.Args) == 0 {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(a *attempt) bool {
		return a.entered < caller.window[0] || a.entered > caller.window[1]
	})
}

// furthest is the failed attempt that came furthest. It is nil if there was no attempt, or if one held.
func furthest(attempts []*attempt) *attempt {
	if anyHeld(attempts) {
		return nil
	}
	var best *attempt
	for _, tried := range attempts {
		if tried.failed != nil && (best == nil || tried.progress() > best.progress()) {
			best = tried
		}
	}
	return best
}

func (x *explainer) best(body *ast.Rule) *attempt { return furthest(x.attempts[body]) }

// why explains a rule that has not fired: by its own bodies, or, if one held or nobody asked, by the bodies of
// the rules that would have passed its entries on.
func (x *explainer) why(rule admission.Rule, bodies []*ast.Rule) []admission.Reason {
	seen := make(map[*ast.Rule]bool)
	for _, body := range bodies {
		seen[body] = true
	}
	var reasons []admission.Reason
	if !slices.ContainsFunc(bodies, x.held) {
		for _, body := range bodies {
			if best := x.best(body); best != nil {
				reasons = append(reasons, x.reason(best, seen))
			}
		}
	}
	if len(reasons) > 0 {
		return reasons
	}
	name := ast.MustParseRef("data." + rule.Package).Append(ast.StringTerm(rule.Name))
	for _, body := range inOrder(slices.Collect(maps.Keys(x.attempts))) {
		best := x.best(body)
		if best != nil && !seen[body] && slices.ContainsFunc(refsIn(best.rule.Body), func(ref ast.Ref) bool { return ref.HasPrefix(name) }) {
			seen[body] = true
			reasons = append(reasons, x.reason(best, seen))
		}
	}
	return reasons
}

// inOrder sorts rules by file and row.
func inOrder(rules []*ast.Rule) []*ast.Rule {
	slices.SortFunc(rules, func(a, b *ast.Rule) int { return a.Location.Compare(b.Location) })
	return rules
}

// reason describes where an attempt failed. seen are the bodies that are described already.
func (x *explainer) reason(tried *attempt, seen map[*ast.Rule]bool) admission.Reason {
	expr := tried.failed.Node.(*ast.Expr)
	written := writtenAs(tried.rule.Body, expr)
	reason := admission.Reason{File: written.Location.File, Row: written.Location.Row, Expression: oneLine(written.Location.Text)}
	reason.Values, reason.Outcome = x.values(tried, expr)
	if expr.Negated {
		reason.Outcome = wasFalse
		return reason
	}
	for _, ref := range refsIn(expr) {
		for _, rule := range inOrder(x.snapshot.Compiler().GetRules(ref.GroundPrefix())) {
			best := furthest(x.attemptsFor(tried, rule))
			if best != nil && !seen[rule] {
				seen[rule] = len(rule.Head.Args) == 0
				reason.Because = append(reason.Because, x.reason(best, seen))
			}
		}
	}
	return reason
}

// writtenAs is the author's expression that the compiler made expr from. The compiler moves the arguments of a call into
// expressions of their own before the call.
func writtenAs(body ast.Body, expr *ast.Expr) *ast.Expr {
	for _, candidate := range body {
		if candidate.Index >= expr.Index && !candidate.Generated {
			return candidate
		}
	}
	return expr
}
