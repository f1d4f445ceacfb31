package check

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/types"
)

// entryMembers are what an entry of deny or warn may hold.
var entryMembers = map[string]types.Type{
	"reason":      types.S,
	"message":     types.S,
	"status":      types.N,
	"mark_failed": types.B,
}

var requiredMembers = []string{"reason", "message"}

// Shape refuses a deny or warn that is no set of well-formed entries, as far as types tell. An entry whose type is not known
// is checked when it is evaluated.
func Shape(compiler *ast.Compiler, hook, set string) ast.Errors {
	var errs ast.Errors
	ref := SetRef(hook, set)
	rules := compiler.GetRulesExact(ref)
	for _, rule := range rules {
		if rule.Head.RuleKind() != ast.MultiValue || rule.Head.Key == nil {
			errs = append(errs, ast.NewError(ast.TypeErr, rule.Location,
				"%s of hook %s must be a partial set: %[1]s contains violation if { … }", set, hook))
		}
	}
	if len(errs) > 0 {
		return errs
	}
	setType, isSet := compiler.TypeEnv.GetByRef(ref).(*types.Set)
	if !isSet {
		return ast.Errors{ast.NewError(ast.TypeErr, rules[0].Location, "%s of hook %s is no set", set, hook)}
	}
	for _, entry := range alternatives(setType.Of()) {
		problem := entryProblem(entry)
		if problem != "" {
			errs = append(errs, ast.NewError(ast.TypeErr, rules[0].Location, "%s of hook %s: %s", set, hook, problem))
		}
	}
	return errs
}

func alternatives(t types.Type) []types.Type {
	if union, isUnion := t.(types.Any); isUnion && len(union) > 0 {
		return union
	}
	return []types.Type{t}
}

func entryProblem(entry types.Type) string {
	if types.Compare(entry, types.A) == 0 {
		return ""
	}
	object, isObject := entry.(*types.Object)
	if !isObject {
		return "an entry is no object with reason and message, but " + types.Sprint(entry)
	}
	for _, name := range requiredMembers {
		if types.Select(object, name) == nil {
			return "an entry has no " + name
		}
	}
	for _, property := range object.StaticProperties() {
		name, _ := property.Key.(string)
		want, known := entryMembers[name]
		if !known {
			return "an entry has a member " + name + "; entries hold " + memberNames()
		}
		if !overlaps(property.Value, want) {
			return "an entry's " + name + " is " + types.Sprint(property.Value) + ", not " + types.Sprint(want)
		}
	}
	return ""
}

// overlaps says whether a value of type got can be of type want.
func overlaps(got, want types.Type) bool {
	return slices.ContainsFunc(alternatives(got), func(t types.Type) bool {
		return types.Compare(t, types.A) == 0 || types.Compare(t, want) == 0
	})
}

func memberNames() string {
	return "reason, message, and where they override the rule's metadata status and mark_failed"
}
