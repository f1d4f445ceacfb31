package check

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Tests refuses rules in _test.rego files that add to the policies: tests would see them, and reviews would not. Files
// that cannot be parsed are left to whoever runs the tests.
func Tests(tests map[string][]byte, policies map[string]*ast.Module) error {
	defined := make(map[string]bool)
	for _, module := range policies {
		for _, rule := range module.Rules {
			defined[ruleRef(module, rule).String()] = true
		}
	}
	var refused []error
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		module, err := ast.ParseModuleWithOpts(name, string(tests[name]), ast.ParserOptions{RegoVersion: ast.RegoV1})
		if err != nil || module == nil {
			continue
		}
		for _, rule := range module.Rules {
			ref := ruleRef(module, rule)
			if isTest(rule) || !defined[ref.String()] && !isLookedFor(ref) {
				continue
			}
			refused = append(refused, &Refused{File: name, Why: fmt.Sprintf(
				"line %d: %s would not be loaded: a file whose name ends in _test.rego holds tests, and is to add to no rule of the policies",
				rule.Location.Row, strings.TrimPrefix(ref.String(), "data."))})
		}
	}
	return errors.Join(refused...)
}

func ruleRef(module *ast.Module, rule *ast.Rule) ast.Ref {
	head := rule.Head.Ref().GroundPrefix()
	ref := slices.Clone(module.Package.Path)
	return append(append(ref, ast.StringTerm(string(head[0].Value.(ast.Var)))), head[1:]...)
}

func isTest(rule *ast.Rule) bool {
	name := rule.Head.Ref()[0].String()
	return strings.HasPrefix(name, "test_") || strings.HasPrefix(name, "todo_test_")
}
