package opa

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/topdown"

	"gatehouse/server/admission"
)

// liveRoot holds the sets of hooks a second time, in the form in which reviews are decided: without the rules
// that only pass others' entries on, so that OPA's rule index finds the rules that may hold among all that a
// hook comes to. As they are written, rules are evaluated where somebody watches: explanations and coverage.
var liveRoot = ast.MustParseRef("data.gatehouse")

func liveRef(hook, set string) ast.Ref {
	return liveRoot.Append(ast.StringTerm(hook)).Append(ast.StringTerm(set))
}

// addLive puts the sets below liveRoot, before rules are indexed and tagged.
func addLive(compiler *ast.Compiler, hooks []hook, numbers map[*ast.Rule]int) {
	root := below(compiler.RuleTree, ast.DefaultRootDocument.Value)
	root = below(root, liveRoot[1].Value)
	for _, h := range hooks {
		node := below(root, ast.String(h.name))
		module := &ast.Module{Package: &ast.Package{Path: liveRoot.Append(ast.StringTerm(h.name))}}
		for _, set := range h.sets {
			flat := flattening{compiler: compiler, module: module, set: set, numbers: numbers, seen: make(map[passedRule]bool)}
			for _, rule := range compiler.GetRulesExact(setRef(h.name, set)) {
				flat.add(rule, untagged)
			}
			below(node, ast.String(set)).Values = flat.rules
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

// untagged is the number of no rule.
const untagged = -1

// flattening collects the rules that a set comes to.
type flattening struct {
	compiler *ast.Compiler
	module   *ast.Module
	set      string
	numbers  map[*ast.Rule]int
	seen     map[passedRule]bool
	rules    []*ast.Rule
}

// passedRule is a rule and the number that its entries get: that of the first annotated rule on their way.
type passedRule struct {
	rule   *ast.Rule
	number int
}

func (f *flattening) add(rule *ast.Rule, number int) {
	if own, annotated := f.numbers[rule]; annotated && number == untagged {
		number = own
	}
	if f.seen[passedRule{rule, number}] {
		return
	}
	f.seen[passedRule{rule, number}] = true
	if passed := passedBy(f.compiler, rule); len(passed) > 0 {
		for _, inner := range passed {
			f.add(inner, number)
		}
		return
	}
	flat := &ast.Rule{
		Location: rule.Location, Module: f.module, Body: slices.Clone(rule.Body), Else: rule.Else,
		Head: &ast.Head{Name: ast.Var(f.set), Reference: ast.Ref{ast.VarTerm(f.set)}, Key: rule.Head.Key, Location: rule.Head.Location},
	}
	if number != untagged {
		tag(flat, number)
	}
	f.rules = append(f.rules, flat)
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

// live is a hook as its reviews are decided.
type live struct {
	sets     []string
	query    ast.Body
	queries  ast.QueryCompiler
	compiler *ast.Compiler
	store    storage.Store
	// The data never change, so that all evaluations share one transaction, which is never ended.
	txn     storage.Transaction
	indices []*guardedIndex
	guards  *guards
	views   *sync.Pool
}

func newLive(ctx context.Context, from *compilation) (map[string]*live, error) {
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
	names := namesOf(from.compiler)
	views := &sync.Pool{New: func() any { return newView(names, data) }}
	guards := newGuards(from.compiler, data)
	hooks := make(map[string]*live, len(from.hooks))
	for _, h := range from.hooks {
		made := &live{sets: h.sets, queries: from.compiler.QueryCompiler(), compiler: from.compiler, store: from.store, txn: txn, guards: guards, views: views}
		var query ast.Body
		for _, set := range h.sets {
			ref := liveRef(h.name, set)
			node := from.compiler.RuleTree.Find(ref)
			index := guards.index(node)
			node.Index = index
			made.indices = append(made.indices, index)
			query.Append(ast.Equality.Expr(ast.VarTerm(set), ast.NewTerm(ref)))
		}
		made.query, err = made.queries.Compile(query)
		if err != nil {
			return nil, fmt.Errorf("hook %s: %w", h.name, err)
		}
		hooks[h.name] = made
	}
	return hooks, nil
}

// decide gives the sets, in their order, if guards can tell what is in them, as they can for nearly all reviews.
func (l *live) decide(in *admission.Input) (sets [][]*ast.Term, decided bool) {
	return l.look(in, func(*ast.Rule) bool { return false })
}

// undecided are the rules that keep guards from deciding, but for an input that cannot be read.
func (l *live) undecided(in *admission.Input) []*ast.Rule {
	var rules []*ast.Rule
	l.look(in, func(rule *ast.Rule) bool {
		rules = append(rules, rule)
		return true
	})
	return rules
}

// look tells ask of rules that guards cannot tell of, and ends when it says no.
func (l *live) look(in *admission.Input, ask func(*ast.Rule) bool) (sets [][]*ast.Term, all bool) {
	view := l.views.Get().(*view)
	defer l.views.Put(view)
	defer view.close()
	if !view.open(in) {
		return nil, false
	}
	search := l.guards.searches.Get().(*search)
	defer l.guards.searches.Put(search)
	search.start(view)
	defer search.stop()
	sets = make([][]*ast.Term, len(l.indices))
	for i, index := range l.indices {
		sets[i], all = index.entries(search, ask)
		if !all {
			return nil, false
		}
	}
	return sets, true
}

// evaluate gives the sets, in their order, as the engine finds them.
func (l *live) evaluate(ctx context.Context, in admission.Input, at time.Time) ([][]*ast.Term, error) {
	input, err := inputValue(in)
	if err != nil {
		return nil, fmt.Errorf("building the input: %w", err)
	}
	cancel := topdown.NewCancel()
	stop := context.AfterFunc(ctx, cancel.Cancel)
	defer stop()
	var result topdown.QueryResult
	err = topdown.NewQuery(l.query).WithQueryCompiler(l.queries).WithCompiler(l.compiler).
		WithStore(l.store).WithTransaction(l.txn).WithInput(ast.NewTerm(input)).WithTime(at).
		WithCancel(cancel).WithMetrics(metrics.NoOp()).WithStrictBuiltinErrors(true).
		Iter(ctx, func(found topdown.QueryResult) error {
			result = found
			return nil
		})
	if err == nil {
		err = ctx.Err() // a query that is cancelled at its very end can come back empty-handed and without an error
	}
	if err != nil {
		return nil, err
	}
	sets := make([][]*ast.Term, len(l.sets))
	for i, name := range l.sets {
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
