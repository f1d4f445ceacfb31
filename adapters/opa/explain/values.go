package explain

import (
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Outcomes of an expression that did not hold.
const (
	wasFalse     = "was false"
	wasUndefined = "was undefined"
	foundNothing = "found nothing"
)

// values gives the values in an expression that failed, and its outcome.
func (x *explainer) values(tried *attempt, expr *ast.Expr) ([]string, string) {
	var values []string
	outcome := wasFalse
	if x.iterates(tried, expr) {
		outcome = foundNothing
	}
	for _, ref := range refsIn(expr) {
		ref = x.plug(tried, ref)
		prefix := ref.GroundPrefix()
		if len(x.snapshot.Compiler().GetRules(prefix)) > 0 {
			if outcome == wasFalse && !x.anyHolds(tried, prefix) {
				outcome = wasUndefined
			}
			if len(prefix) < len(ref) {
				outcome = foundNothing
			}
			continue
		}
		value := x.lookUp(prefix)
		switch {
		case value == nil:
			values = append(values, "no "+prefix.String())
			outcome = wasUndefined
			continue
		case len(prefix) < len(ref):
			outcome = foundNothing
		}
		values = append(values, prefix.String()+" is "+short(value.String()))
	}
	return append(values, localValues(tried, expr)...), outcome
}

func (x *explainer) anyHolds(caller *attempt, rules ast.Ref) bool {
	return slices.ContainsFunc(x.snapshot.Compiler().GetRules(rules), func(rule *ast.Rule) bool {
		return rule.Default || anyHeld(x.attemptsFor(caller, rule))
	})
}

// iterates says whether an expression looks for members of a local collection.
func (x *explainer) iterates(tried *attempt, expr *ast.Expr) bool {
	found := false
	ast.WalkRefs(expr, func(ref ast.Ref) bool {
		found = found || !ref.HasPrefix(ast.DefaultRootRef) && !ref.HasPrefix(ast.InputRootRef) && !x.plug(tried, ref).IsGround()
		return false
	})
	return found && expr.IsEquality()
}

// plug replaces the local variables in a reference by their values.
func (x *explainer) plug(tried *attempt, ref ast.Ref) ast.Ref {
	plugged := make(ast.Ref, len(ref))
	for i, term := range ref {
		plugged[i] = term
		if value := tried.failed.Locals.Get(term.Value); i > 0 && value != nil {
			plugged[i] = ast.NewTerm(value)
		}
	}
	return plugged
}

// lookUp gives the value of a reference into the input or the data, nil if there is none.
func (x *explainer) lookUp(ref ast.Ref) ast.Value {
	if ref.HasPrefix(ast.InputRootRef) {
		value, err := x.input.Find(ref[1:])
		if err != nil {
			return nil
		}
		return value
	}
	return x.snapshot.DataAt(ref)
}

// localValues gives the values of an expression's variables, by the names that the author gave them. A variable that the
// compiler made is named by the expression that it stands for.
func localValues(tried *attempt, expr *ast.Expr) []string {
	var values []string
	ast.WalkVars(expr, func(v ast.Var) bool {
		value := tried.failed.Locals.Get(v)
		name := tried.failed.LocalMetadata[v].Name
		if name == "" || name == v {
			name = generatedFrom(tried.rule.Body, expr, v)
		}
		if value != nil && name != "" {
			text := string(name) + " is " + short(value.String())
			if !slices.Contains(values, text) {
				values = append(values, text)
			}
		}
		return false
	})
	return values
}

func generatedFrom(body ast.Body, before *ast.Expr, v ast.Var) ast.Var {
	for _, candidate := range body {
		if candidate.Index < before.Index && candidate.Generated && mentions(candidate, v) {
			return ast.Var(oneLine(candidate.Location.Text))
		}
	}
	return ""
}

// refsIn are the references into the input and the data in an expression or a body, functions too, each once. It leaves out
// references inside comprehensions, which hold whatever they find.
func refsIn(node any) []ast.Ref {
	var refs []ast.Ref
	visitor := ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case *ast.ArrayComprehension, *ast.SetComprehension, *ast.ObjectComprehension:
			return true
		case ast.Ref:
			isNew := !slices.ContainsFunc(refs, func(ref ast.Ref) bool { return ref.Equal(x) })
			if isNew && (x.HasPrefix(ast.InputRootRef) || x.HasPrefix(ast.DefaultRootRef)) {
				refs = append(refs, x)
			}
		}
		return false
	})
	visitor.Walk(node)
	return refs
}

// maxShown bounds a value or an expression in a sentence.
const maxShown = 80

func oneLine(text []byte) string { return short(strings.Join(strings.Fields(string(text)), " ")) }

func short(text string) string {
	runes := []rune(text)
	if len(runes) <= maxShown {
		return text
	}
	return string(runes[:maxShown]) + "…"
}
