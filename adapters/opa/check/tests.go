package check

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/open-policy-agent/opa/v1/ast"
)

// Tests refuses rules in _test.rego files that add to the policies: tests would see them, and reviews would not. It also
// refuses unused rules whose names are nearly those of tests: they would not run. It does not look at files that cannot be
// parsed; running the tests finds those.
func Tests(tests map[string][]byte, policies map[string]*ast.Module) error {
	defined := make(map[string]bool)
	for _, module := range policies {
		for _, rule := range module.Rules {
			defined[ruleRef(module, rule).String()] = true
		}
	}
	modules := make(map[string]*ast.Module, len(tests))
	for name, text := range tests {
		module, err := ast.ParseModuleWithOpts(name, string(text), ast.ParserOptions{RegoVersion: ast.RegoV1})
		if err == nil && module != nil {
			modules[name] = module
		}
	}
	used := namesUsed(modules)
	var refused []error
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		for _, rule := range modules[name].Rules {
			ref, first := ruleRef(modules[name], rule), rule.Head.Ref()[0].String()
			why := ""
			switch {
			case isTest(first):
			case defined[ref.String()] || isLookedFor(ref):
				why = strings.TrimPrefix(ref.String(), "data.") +
					" would not be loaded: a file whose name ends in _test.rego holds tests, and is to add to no rule of the policies"
			case len(rule.Head.Args) == 0 && !used[first] && isNearlyTest(first):
				why = first + " would not run, and nothing uses it: the name of a test begins with test_"
			}
			if why != "" {
				refused = append(refused, &Refused{File: name, Why: fmt.Sprintf("line %d: %s", rule.Location.Row, why)})
			}
		}
	}
	return errors.Join(refused...)
}

// namesUsed are the names that rules mention beside their own.
func namesUsed(modules map[string]*ast.Module) map[string]bool {
	used := make(map[string]bool)
	mention := func(term *ast.Term) bool {
		switch value := term.Value.(type) {
		case ast.Var:
			used[string(value)] = true
		case ast.String: // of a reference from another package
			used[string(value)] = true
		}
		return false
	}
	for _, module := range modules {
		ast.WalkRules(module, func(rule *ast.Rule) bool {
			for _, part := range []*ast.Term{rule.Head.Key, rule.Head.Value} {
				if part != nil {
					ast.WalkTerms(part, mention)
				}
			}
			ast.WalkTerms(rule.Body, mention)
			return false
		})
	}
	return used
}

// isNearlyTest says whether a name begins with a misspelt test_: testb, Test_b, tset_b, tst_b. Another letter in place of one
// makes another word (text_b, best_b), which does not count.
func isNearlyTest(name string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(strings.ToLower(name), "todo_"), "_")
	letters := []byte(first)
	slices.Sort(letters)
	distance := levenshtein.ComputeDistance(first, "test")
	return strings.HasPrefix(first, "test") || string(letters) == "estt" || distance == 1 && len(first) != len("test")
}

func ruleRef(module *ast.Module, rule *ast.Rule) ast.Ref {
	head := rule.Head.Ref().GroundPrefix()
	ref := slices.Clone(module.Package.Path)
	return append(append(ref, ast.StringTerm(string(head[0].Value.(ast.Var)))), head[1:]...)
}

func isTest(name string) bool {
	return strings.HasPrefix(name, "test_") || strings.HasPrefix(name, "todo_test_")
}
