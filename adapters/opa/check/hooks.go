package check

import (
	"cmp"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/util"
)

// Sets are the partial sets of a hook's package that the engine evaluates.
var Sets = []string{"deny", "warn"}

// KnownHooks are the hooks that a registry asks for. Both are ways online.
var KnownHooks = []string{"register", "heartbeat"}

// LogPackage holds the rule mask, which OPA's own decision logs know too.
var LogPackage = ast.MustParseRef("data.system.log")

var hooksRoot = ast.MustParseRef("data.admission")

// Hook is a package admission.<name> that defines deny.
type Hook struct {
	Name string
	Sets []string // deny, and warn if the package has it
}

// Hooks are the hooks of the modules, in order of name.
func Hooks(compiler *ast.Compiler) []Hook {
	var hooks []Hook
	names := make(map[string]bool)
	for _, module := range compiler.Modules {
		path := module.Package.Path
		if len(path) != len(hooksRoot)+1 || !path.HasPrefix(hooksRoot) {
			continue
		}
		name, isText := path[len(path)-1].Value.(ast.String)
		if !isText || names[string(name)] {
			continue
		}
		found := Hook{Name: string(name)}
		for _, set := range Sets {
			if len(compiler.GetRulesExact(SetRef(found.Name, set))) > 0 {
				found.Sets = append(found.Sets, set)
			}
		}
		if slices.Contains(found.Sets, "deny") {
			names[found.Name] = true
			hooks = append(hooks, found)
		}
	}
	slices.SortFunc(hooks, func(a, b Hook) int { return cmp.Compare(a.Name, b.Name) })
	return hooks
}

// SetRef is the place of a hook's set.
func SetRef(hook, set string) ast.Ref {
	return hooksRoot.Append(ast.StringTerm(hook)).Append(ast.StringTerm(set))
}

// Reached are the rules and everything that they depend on.
func Reached(compiler *ast.Compiler, rules []*ast.Rule) map[util.T]bool {
	reached := make(map[util.T]bool)
	for _, rule := range rules {
		reach(compiler.Graph, rule, reached)
	}
	return reached
}

func reach(graph *ast.Graph, node util.T, into map[util.T]bool) {
	if into[node] {
		return
	}
	into[node] = true
	for dependency := range graph.Dependencies(node) {
		reach(graph, dependency, into)
	}
}

// isLookedFor says whether the engine itself looks for rules of this name.
func isLookedFor(rule ast.Ref) bool {
	last, isText := rule[len(rule)-1].Value.(ast.String)
	isSet := isText && len(rule) == len(hooksRoot)+2 && rule.HasPrefix(hooksRoot) && slices.Contains(Sets, string(last))
	return isSet || rule.HasPrefix(LogPackage)
}
