package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/molecule-ai/gatehouse/adapters/opa/check"
	"github.com/molecule-ai/gatehouse/adapters/opa/fastpath"
	"github.com/molecule-ai/gatehouse/adapters/opa/regoval"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// flatRoot holds the sets of hooks a second time, in the form in which reviews are decided. It leaves out the rules that only
// pass on the entries of others. So OPA's rule index can choose among all rules that make entries for a hook. Explanations and
// coverage evaluate the rules as they are written.
var flatRoot = ast.MustParseRef("data.gatehouse")

func flatRef(hook, set string) ast.Ref {
	return flatRoot.Append(ast.StringTerm(hook)).Append(ast.StringTerm(set))
}

// addFlatSets puts the sets below flatRoot, before rules are indexed and tagged.
func addFlatSets(compiler *ast.Compiler, hooks []check.Hook, numbers map[*ast.Rule]int) {
	root := below(compiler.RuleTree, ast.DefaultRootDocument.Value)
	root = below(root, flatRoot[1].Value)
	for _, h := range hooks {
		node := below(root, ast.String(h.Name))
		module := &ast.Module{Package: &ast.Package{Path: flatRoot.Append(ast.StringTerm(h.Name))}}
		for _, set := range h.Sets {
			var rules []*ast.Rule
			for _, leaf := range leavesOf(compiler, h, set, numbers) {
				rules = append(rules, leaf.flat(module, set))
			}
			below(node, ast.String(set)).Values = rules
		}
	}
}

// below is the node of a name, made if it is not there.
func below(node *ast.TreeNode, name ast.Value) *ast.TreeNode {
	if child := node.Child(name); child != nil {
		return child
	}
	child := &ast.TreeNode{Key: name}
	if node.Children == nil {
		node.Children = make(map[ast.Value]*ast.TreeNode)
	}
	node.Children[name] = child
	node.Sorted = append(node.Sorted, name)
	return child
}

// untagged says that no annotated rule is on the way.
const untagged = -1

// leavesOf are the rules that make the entries of a set.
func leavesOf(compiler *ast.Compiler, h check.Hook, set string, numbers map[*ast.Rule]int) []passedRule {
	var leaves []passedRule
	seen := make(map[passedRule]bool)
	var add func(rule *ast.Rule, number int)
	add = func(rule *ast.Rule, number int) {
		if own, annotated := numbers[rule]; annotated && number == untagged {
			number = own
		}
		reached := passedRule{rule, number}
		if seen[reached] {
			return
		}
		seen[reached] = true
		passed := passedBy(compiler, rule)
		if len(passed) == 0 {
			leaves = append(leaves, reached)
		}
		for _, inner := range passed {
			add(inner, number)
		}
	}
	for _, rule := range compiler.GetRulesExact(check.SetRef(h.Name, set)) {
		add(rule, untagged)
	}
	return leaves
}

// passedRule is a rule, and the number that its entries get: that of the first annotated rule on the way to it.
type passedRule struct {
	rule   *ast.Rule
	number int
}

// flat is the rule as a rule of the set itself.
func (p passedRule) flat(module *ast.Module, set string) *ast.Rule {
	rule := p.rule
	flat := &ast.Rule{
		Location: rule.Location, Module: module, Body: slices.Clone(rule.Body), Else: rule.Else,
		Head: &ast.Head{Name: ast.Var(set), Reference: ast.Ref{ast.VarTerm(set)}, Key: rule.Head.Key, Location: rule.Head.Location},
	}
	if p.number != untagged {
		tag(flat, p.number)
	}
	return flat
}

// passedBy gives the rules of the set whose entries a rule only passes on: r contains v if some v in set.
func passedBy(compiler *ast.Compiler, rule *ast.Rule) []*ast.Rule {
	if len(rule.Body) != 1 || rule.Else != nil {
		return nil
	}
	expr := rule.Body[0]
	if expr.Negated || len(expr.With) > 0 || !expr.IsEquality() || !expr.Operand(0).Equal(rule.Head.Key) {
		return nil
	}
	ref, isRef := expr.Operand(1).Value.(ast.Ref)
	if !isRef || len(ref.GroundPrefix()) != len(ref)-1 || ref[len(ref)-1].Equal(rule.Head.Key) {
		return nil
	}
	passed := compiler.GetRulesExact(ref.GroundPrefix())
	if slices.ContainsFunc(passed, func(r *ast.Rule) bool { return r.Head.RuleKind() != ast.MultiValue || r.Head.Key == nil }) {
		return nil
	}
	return passed
}

// fastPath gives the entries of a hook's sets, or says that it cannot tell them.
type fastPath interface {
	Entries(in *admission.Input) (sets [][]*ast.Term, told bool)
}

// hook is a hook as its reviews are decided.
type hook struct {
	sets     []string
	teller   fastPath            // is fast; tests put a wrong one here
	fast     *fastpath.Evaluator // for profiles, which ask which rules it can tell
	written  ast.Body            // asks for the sets as they are written
	assisted ast.Body            // asks for the sets below flatRoot
	queries  ast.QueryCompiler
	compiler *ast.Compiler
	store    storage.Store
	// The data never change, so that all evaluations share one transaction, which is never ended.
	txn storage.Transaction
}

func newHooks(ctx context.Context, from *compilation) (map[string]*hook, error) {
	txn, err := from.store.NewTransaction(ctx)
	if err != nil {
		return nil, err
	}
	document, err := from.store.Read(ctx, txn, storage.Path{})
	if err != nil {
		return nil, err
	}
	data, isValue := document.(ast.Value)
	if !isValue {
		return nil, errors.New("the data are no value")
	}
	hooks := make(map[string]*hook, len(from.hooks))
	for _, h := range from.hooks {
		made := &hook{sets: h.Sets, queries: from.compiler.QueryCompiler(), compiler: from.compiler, store: from.store, txn: txn}
		err = made.prepare(h, data)
		if err != nil {
			return nil, fmt.Errorf("hook %s: %w", h.Name, err)
		}
		hooks[h.Name] = made
	}
	return hooks, nil
}

func (h *hook) prepare(of check.Hook, data ast.Value) error {
	flat, written := make([]ast.Ref, len(of.Sets)), make([]ast.Ref, len(of.Sets))
	for i, set := range of.Sets {
		flat[i], written[i] = flatRef(of.Name, set), check.SetRef(of.Name, set)
	}
	var err error
	h.fast, err = fastpath.New(h.compiler, data, flat)
	if err != nil {
		return err
	}
	h.teller = h.fast
	h.fast.Assist()
	h.assisted, err = h.queryOf(flat)
	if err != nil {
		return err
	}
	h.written, err = h.queryOf(written)
	return err
}

// queryOf asks for sets, each in the variable of its name.
func (h *hook) queryOf(refs []ast.Ref) (ast.Body, error) {
	var query ast.Body
	for i, ref := range refs {
		query.Append(ast.Equality.Expr(ast.VarTerm(h.sets[i]), ast.NewTerm(ref)))
	}
	return h.queries.Compile(query)
}

// byFastPath gives the sets, in their order, if the fast path can tell them. It can for nearly all reviews.
func (h *hook) byFastPath(in *admission.Input) (sets [][]*ast.Term, told bool) {
	return h.teller.Entries(in)
}

// byAssistedOPA is for reviews that the fast path cannot tell: OPA evaluates, and the fast path leaves out the rules that
// cannot hold. It takes a fifth of the time of byOPA.
func (h *hook) byAssistedOPA(ctx context.Context, in admission.Input, at time.Time) ([][]*ast.Term, error) {
	return h.evaluate(ctx, h.assisted, in, at)
}

// byOPA is the reference: OPA evaluates the rules as they are written, without the fast path.
func (h *hook) byOPA(ctx context.Context, in admission.Input, at time.Time, watch ...Watch) ([][]*ast.Term, error) {
	return h.evaluate(ctx, h.written, in, at, watch...)
}

// evaluate runs a query for the sets, and gives them in their order.
func (h *hook) evaluate(ctx context.Context, body ast.Body, in admission.Input, at time.Time, watch ...Watch) ([][]*ast.Term, error) {
	input, err := regoval.Input(in)
	if err != nil {
		return nil, fmt.Errorf("building the input: %w", err)
	}
	cancel := topdown.NewCancel()
	stop := context.AfterFunc(ctx, cancel.Cancel)
	defer stop()
	query := topdown.NewQuery(body).WithQueryCompiler(h.queries).WithCompiler(h.compiler).
		WithStore(h.store).WithTransaction(h.txn).WithInput(ast.NewTerm(input)).WithTime(at).
		WithCancel(cancel).WithMetrics(metrics.NoOp()).WithStrictBuiltinErrors(true)
	for _, setUp := range watch {
		setUp(query)
	}
	var result topdown.QueryResult
	err = query.Iter(ctx, func(found topdown.QueryResult) error {
		result = found
		return nil
	})
	if err == nil {
		err = ctx.Err() // a query that is cancelled at its very end can give no result and no error
	}
	if err != nil {
		return nil, err
	}
	sets := make([][]*ast.Term, len(h.sets))
	for i, name := range h.sets {
		term, found := result[ast.Var(name)]
		if !found {
			return nil, errUndefined
		}
		sets[i], err = entriesOf(name, term)
		if err != nil {
			return nil, err
		}
	}
	return sets, nil
}
