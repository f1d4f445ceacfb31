package explain

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/profiler"

	"github.com/molecule-ai/gatehouse/adapters/opa/fastpath"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// Profile is what rules cost over some inputs, the most expensive first.
type Profile struct {
	Inputs    int        `json:"inputs"`
	Rehearsal bool       `json:"rehearsal"` // there were no inputs but the least of each hook
	Rules     []RuleCost `json:"rules"`
}

// RuleCost is one body of a Rego rule. OPA's profiler counts the evaluations of its expressions and their share of the time,
// for the rules as they are written.
type RuleCost struct {
	Rule        string  `json:"rule"`
	File        string  `json:"file"`
	Row         int     `json:"row"`
	Evaluations int     `json:"evaluations"`
	Share       float64 `json:"share"` // from 0 to 1
	// Engine is in how many of the Inputs of its hooks the fast path cannot tell this rule, so that the decision needs OPA. It
	// is counted for rules that make entries of deny and warn.
	Entries bool `json:"entries"`
	Engine  int  `json:"engine"`
	Inputs  int  `json:"inputs"`
}

// Slow says whether the rule makes every decision slow.
func (c RuleCost) Slow() bool { return c.Inputs > 0 && c.Engine == c.Inputs }

// Measure evaluates inputs. It leaves out those of hooks that the policies do not define. Without inputs it takes the least
// input of each hook. The profiler changes the rules (it notes locations), so s must not be one that serves.
func Measure(ctx context.Context, s *snapshot.Snapshot, inputs []admission.Input, at time.Time) (Profile, error) {
	inputs = slices.DeleteFunc(slices.Clone(inputs), func(in admission.Input) bool { return !s.HasHook(in.Hook) })
	made := Profile{Rehearsal: len(inputs) == 0}
	if made.Rehearsal {
		for _, hook := range s.Hooks() {
			in, err := snapshot.Rehearsal(hook)
			if err != nil {
				return Profile{}, err
			}
			inputs = append(inputs, in)
		}
	}
	made.Inputs = len(inputs)
	costs := newCosts(s.Compiler())
	measured := profiler.New()
	for _, in := range inputs {
		costs.decide(s.FastPath(in.Hook), &in)
		_, err := s.EvaluateWatched(ctx, in, at, snapshot.TracedBy(measured))
		if err != nil {
			return Profile{}, fmt.Errorf("hook %s: %w", in.Hook, err)
		}
	}
	costs.add(measured.ReportByFile())
	made.Rules = costs.ranked()
	return made, nil
}

// costs are those of the rules of each file, in order of their rows.
type costs map[string][]*RuleCost

func newCosts(compiler *ast.Compiler) costs {
	found := make(costs)
	for _, module := range compiler.Modules {
		for _, rule := range module.Rules {
			name := strings.TrimPrefix(rule.Ref().GroundPrefix().String(), "data.")
			file := rule.Location.File
			found[file] = append(found[file], &RuleCost{Rule: name, File: file, Row: rule.Location.Row})
		}
	}
	for _, rules := range found {
		slices.SortFunc(rules, func(a, b *RuleCost) int { return a.Row - b.Row })
	}
	return found
}

// at is the rule that a row belongs to.
func (c costs) at(file string, row int) *RuleCost {
	var found *RuleCost
	for _, rule := range c[file] {
		if rule.Row <= row {
			found = rule
		}
	}
	return found
}

// decide notes for which rules a decision needs OPA.
func (c costs) decide(fast *fastpath.Evaluator, in *admission.Input) {
	for _, rule := range fast.Rules() {
		if cost := c.at(rule.Location.File, rule.Location.Row); cost != nil {
			cost.Entries = true
			cost.Inputs++
		}
	}
	for _, rule := range fast.Untold(in) {
		if cost := c.at(rule.Location.File, rule.Location.Row); cost != nil {
			cost.Engine++
		}
	}
}

func (c costs) add(report profiler.Report) {
	for file, measured := range report.Files {
		for _, expression := range measured.Result {
			if cost := c.at(file, expression.Location.Row); cost != nil {
				cost.Evaluations += expression.NumEval
				cost.Share += float64(expression.ExprTimeNs)
			}
		}
	}
}

// ranked turns times into shares, and sorts.
func (c costs) ranked() []RuleCost {
	var all []RuleCost
	total := 0.0
	for _, rules := range c {
		for _, rule := range rules {
			if rule.Evaluations > 0 || rule.Entries {
				all = append(all, *rule)
				total += rule.Share
			}
		}
	}
	for i := range all {
		all[i].Share /= max(total, 1)
	}
	slices.SortFunc(all, func(a, b RuleCost) int {
		return cmp.Or(cmp.Compare(b.Engine, a.Engine), cmp.Compare(b.Share, a.Share), cmp.Compare(a.File, b.File), a.Row-b.Row)
	})
	return all
}
