package fastpath

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// guardedIndex is OPA's rule index that also leaves out the rules that guards exclude.
type guardedIndex struct {
	ast.RuleIndex
	guards *guards
	rules  map[*ast.Rule]*guard // nil: nothing of the rule is understood
}

// index puts guards before the rules of a node, after OPA has built the node's index.
func (g *guards) index(node *ast.TreeNode) *guardedIndex {
	index := &guardedIndex{RuleIndex: node.Index, guards: g, rules: make(map[*ast.Rule]*guard)}
	for _, rule := range node.Values {
		index.rules[rule] = g.of(rule)
	}
	return index
}

func (i *guardedIndex) Lookup(resolver ast.ValueResolver) (*ast.IndexResult, error) {
	result, err := i.RuleIndex.Lookup(resolver)
	if err != nil || len(result.Rules) == 0 {
		return result, err
	}
	s := i.guards.searches.Get().(*search)
	defer i.guards.searches.Put(s)
	s.start(resolver)
	defer s.stop()
	result.Rules = slices.DeleteFunc(result.Rules, func(rule *ast.Rule) bool {
		guard := i.rules[rule]
		return guard != nil && s.excludes(guard)
	})
	return result, nil
}

// entries are the entries of the rules that the index finds. For each rule that guards cannot tell it calls ask, which says
// whether to go on.
func (i *guardedIndex) entries(s *search, ask func(*ast.Rule) bool) (entries []*ast.Term, all bool) {
	result, err := i.RuleIndex.Lookup(s.resolver)
	if err != nil {
		return nil, false
	}
	defer ast.IndexResultPool.Put(result)
	if result.Default != nil || len(result.Else) > 0 {
		return nil, false
	}
	for _, rule := range result.Rules {
		var found []*ast.Term
		guard := i.rules[rule]
		told := guard != nil
		if told {
			found, told = s.entries(guard)
		}
		if !told && !ask(rule) {
			return nil, false
		}
		entries = append(entries, found...)
	}
	if len(entries) > 1 {
		entries = ast.NewSet(entries...).Slice()
	}
	return entries, true
}
