package fastpath

import (
	"fmt"
	"maps"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// Evaluator tells the entries of partial sets. It never changes and is safe for concurrent use.
type Evaluator struct {
	guards *guards
	sets   []*ast.TreeNode
	index  []*guardedIndex
	views  *sync.Pool
}

// New makes an evaluator of these sets. compiler holds the compiled policies, data is the data of the store. Neither may
// change afterwards.
func New(compiler *ast.Compiler, data ast.Value, sets []ast.Ref) (*Evaluator, error) {
	names := namesOf(compiler)
	made := &Evaluator{
		guards: newGuards(compiler, data),
		views:  &sync.Pool{New: func() any { return newView(names, data) }},
	}
	for _, ref := range sets {
		node := compiler.RuleTree.Find(ref)
		if node == nil || node.Index == nil {
			return nil, fmt.Errorf("%s has no rules", ref)
		}
		made.sets = append(made.sets, node)
		made.index = append(made.index, made.guards.index(node))
	}
	return made, nil
}

// Entries gives the entries of each set, in the order of the sets. Entries of one set are sorted. If it cannot tell all
// entries, it tells none.
func (e *Evaluator) Entries(in *admission.Input) (sets [][]*ast.Term, told bool) {
	return e.look(in, func(*ast.Rule) bool { return false })
}

// Untold are the rules because of which Entries cannot tell. There are none when the input cannot be read.
func (e *Evaluator) Untold(in *admission.Input) []*ast.Rule {
	var rules []*ast.Rule
	e.look(in, func(rule *ast.Rule) bool {
		rules = append(rules, rule)
		return true
	})
	return rules
}

// look calls ask for each rule that it cannot tell, and ends when ask says no.
func (e *Evaluator) look(in *admission.Input, ask func(*ast.Rule) bool) (sets [][]*ast.Term, all bool) {
	view := e.views.Get().(*view)
	defer e.views.Put(view)
	defer view.close()
	if !view.open(in) {
		return nil, false
	}
	return e.entries(view, ask)
}

func (e *Evaluator) entries(input ast.ValueResolver, ask func(*ast.Rule) bool) (sets [][]*ast.Term, all bool) {
	search := e.guards.searches.Get().(*search)
	defer e.guards.searches.Put(search)
	search.start(input)
	defer search.stop()
	sets = make([][]*ast.Term, len(e.index))
	for i, index := range e.index {
		sets[i], all = index.entries(search, ask)
		if !all {
			return nil, false
		}
	}
	return sets, true
}

// Rules are the rules of the sets, in any order.
func (e *Evaluator) Rules() []*ast.Rule {
	var rules []*ast.Rule
	for _, index := range e.index {
		for rule := range maps.Keys(index.rules) {
			rules = append(rules, rule)
		}
	}
	return rules
}

// Assist makes OPA's own evaluation of the sets faster: it leaves out rules that cannot hold. This is for decisions in which
// Entries cannot tell some rule. Assist changes the compiler's rule tree. So an evaluation that is to check this evaluator
// must not ask for these sets.
func (e *Evaluator) Assist() {
	for i, node := range e.sets {
		node.Index = e.index[i]
	}
}
