package opa

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/util"
)

// checkReach refuses rules that look as if they denied and never would: an annotated rule, or a deny or warn
// anywhere below admission, that no hook's set depends on; and a deny or warn of a hook that is neither
// annotated nor passes an annotated rule on.
func checkReach(compiler *ast.Compiler, hooks []hook, annotated map[*ast.Rule]int) ast.Errors {
	var errs ast.Errors
	reached := make(map[util.T]bool)
	for _, h := range hooks {
		for _, set := range h.sets {
			for _, rule := range compiler.GetRulesExact(setRef(h.name, set)) {
				below := make(map[util.T]bool)
				reach(compiler.Graph, rule, below)
				if !containsAnnotated(below, annotated) {
					errs = append(errs, ast.NewError(ast.TypeErr, rule.Location,
						"%s of hook %s is without a code in its metadata, and passes on no rule that has one", set, h.name))
				}
				for node := range below {
					reached[node] = true
				}
			}
		}
	}
	for _, name := range sortedKeys(compiler.Modules) {
		for _, rule := range compiler.Modules[name].Rules {
			_, isAnnotated := annotated[rule]
			if !reached[rule] && (isAnnotated || looksLikeSet(rule)) {
				errs = append(errs, ast.NewError(ast.TypeErr, rule.Location,
					"rule %s is in no hook: no deny or warn of a package admission.<hook> uses it", ruleName(rule)))
			}
		}
	}
	return errs
}

// reach collects rule and all that it depends on.
func reach(graph *ast.Graph, node util.T, into map[util.T]bool) {
	if into[node] {
		return
	}
	into[node] = true
	for dependency := range graph.Dependencies(node) {
		reach(graph, dependency, into)
	}
}

func containsAnnotated(nodes map[util.T]bool, annotated map[*ast.Rule]int) bool {
	for rule := range annotated {
		if nodes[rule] {
			return true
		}
	}
	return false
}

// looksLikeSet says whether a rule below admission has the name, or the first part of the name, of a set.
func looksLikeSet(rule *ast.Rule) bool {
	if !rule.Module.Package.Path.HasPrefix(hooksRoot) {
		return false
	}
	first, isVar := rule.Head.Ref()[0].Value.(ast.Var)
	return isVar && slices.Contains(sets, string(first))
}
