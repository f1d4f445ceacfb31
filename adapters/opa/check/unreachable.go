package check

import (
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/util"
)

// Unreachable refuses rules that look as if they could deny, and never would. These are annotated rules, and any deny or warn,
// that no hook's set depends on; and a deny or warn of a hook that is not annotated and passes on no annotated rule. Of
// other rules that no hook's set depends on, it refuses those with a misspelt name, and remarks on the rest.
func Unreachable(compiler *ast.Compiler, hooks []Hook, annotated map[*ast.Rule]int) (errs ast.Errors, remarks []string) {
	reached := make(map[util.T]bool)
	for _, h := range hooks {
		for _, set := range h.Sets {
			for _, rule := range compiler.GetRulesExact(SetRef(h.Name, set)) {
				below := Reached(compiler, []*ast.Rule{rule})
				if !containsAnnotated(below, annotated) {
					errs = append(errs, ast.NewError(ast.TypeErr, rule.Location,
						"%s of hook %s is without a code in its metadata, and passes on no rule that has one", set, h.Name))
				}
				for node := range below {
					reached[node] = true
				}
			}
		}
	}
	unused := make(map[string]bool)
	for _, name := range slices.Sorted(maps.Keys(compiler.Modules)) {
		for _, rule := range compiler.Modules[name].Rules {
			if reached[rule] {
				continue
			}
			_, isAnnotated := annotated[rule]
			if isAnnotated || looksLikeSet(rule) {
				errs = append(errs, ast.NewError(ast.TypeErr, rule.Location,
					"rule %s is in no hook: no deny or warn of a package admission.<hook> uses it", ruleName(rule)))
			} else if meant := misnamed(rule, Sets); meant != "" {
				errs = append(errs, ast.NewError(ast.TypeErr, rule.Location, "%s", meant))
			}
			unused[rule.Ref().GroundPrefix().String()] = true
		}
	}
	for _, h := range hooks {
		if meant := Near(h.Name, KnownHooks); meant != "" && !slices.Contains(KnownHooks, h.Name) {
			location := compiler.GetRulesExact(SetRef(h.Name, "deny"))[0].Module.Package.Location
			errs = append(errs, ast.NewError(ast.TypeErr, location, "nobody asks for hook %s, did you mean %q?", h.Name, meant))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(unused)) {
		remarks = append(remarks, "no hook uses "+strings.TrimPrefix(name, "data."))
	}
	return errs, remarks
}

func containsAnnotated(nodes map[util.T]bool, annotated map[*ast.Rule]int) bool {
	for rule := range annotated {
		if nodes[rule] {
			return true
		}
	}
	return false
}

// looksLikeSet says whether the name of a rule, or its first part, is that of a set. The package may be a hook's, or one that
// was meant to be.
func looksLikeSet(rule *ast.Rule) bool {
	first, isVar := rule.Head.Ref()[0].Value.(ast.Var)
	return isVar && slices.Contains(Sets, string(first))
}
