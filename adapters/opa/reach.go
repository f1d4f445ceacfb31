package opa

import (
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/util"

	"github.com/molecule-ai/gatehouse/adapters/opa/check"
)

// checkReach refuses rules that look as if they denied and never would: an annotated rule, or a deny or warn
// anywhere below admission, that no hook's set depends on; and a deny or warn of a hook that is neither
// annotated nor passes an annotated rule on. Of other rules that no hook's set depends on it refuses those whose names
// say that they are meant to be used, and remarks on the rest.
func checkReach(compiler *ast.Compiler, hooks []hook, annotated map[*ast.Rule]int) (errs ast.Errors, remarks []string) {
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
	unused := make(map[string]bool)
	for _, name := range sortedKeys(compiler.Modules) {
		for _, rule := range compiler.Modules[name].Rules {
			if reached[rule] {
				continue
			}
			_, isAnnotated := annotated[rule]
			if isAnnotated || looksLikeSet(rule) {
				errs = append(errs, ast.NewError(ast.TypeErr, rule.Location,
					"rule %s is in no hook: no deny or warn of a package admission.<hook> uses it", ruleName(rule)))
			} else if meant := check.Misnamed(rule, sets); meant != "" {
				errs = append(errs, ast.NewError(ast.TypeErr, rule.Location, "%s", meant))
			}
			unused[rule.Ref().GroundPrefix().String()] = true
		}
	}
	for _, h := range hooks {
		if meant := check.Near(h.name, gateHooks); meant != "" && !slices.Contains(gateHooks, h.name) {
			location := compiler.GetRulesExact(setRef(h.name, "deny"))[0].Module.Package.Location
			errs = append(errs, ast.NewError(ast.TypeErr, location, "nobody asks for hook %s, did you mean %q?", h.name, meant))
		}
	}
	for _, name := range sortedKeys(unused) {
		remarks = append(remarks, "no hook uses "+strings.TrimPrefix(name, "data."))
	}
	return errs, remarks
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

// looksLikeSet says whether a rule has the name, or the first part of the name, of a set, be it in a hook's package or
// in one that was meant to be.
func looksLikeSet(rule *ast.Rule) bool {
	first, isVar := rule.Head.Ref()[0].Value.(ast.Var)
	return isVar && slices.Contains(sets, string(first))
}
