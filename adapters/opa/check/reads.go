package check

import (
	"maps"
	"net/url"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// Reads are the places of the input that rules can read: pointers that begin with /input, sorted, none of them below another.
// A rule reads nothing beside them, and may read less.
type Reads []string

// Overlap says whether what rules read can depend on what is at a pointer, below it or above it.
func (r Reads) Overlap(pointer string) bool {
	return slices.ContainsFunc(r, func(read string) bool { return admission.Overlaps(read, pointer) })
}

// ReadsOf are the places that the rules of a hook's sets read, with all that these depend on.
func ReadsOf(compiler *ast.Compiler, h Hook) Reads {
	var rules []*ast.Rule
	for _, set := range h.Sets {
		rules = append(rules, compiler.GetRulesExact(SetRef(h.Name, set))...)
	}
	return ReadsOfRules(compiler, rules)
}

// ReadsOfRules are the places that rules read, with all that they depend on.
func ReadsOfRules(compiler *ast.Compiler, rules []*ast.Rule) Reads {
	nodes := Reached(compiler, rules)
	r := reader{compiler: compiler, found: make(map[string]bool), params: make(map[ast.Var]constants), again: true}
	for r.again { // a call that is seen later may pass new arguments to a function
		r.again = false
		for node := range nodes {
			if rule, isRule := node.(*ast.Rule); isRule {
				r.rule(rule)
			}
		}
	}
	return outermost(slices.Sorted(maps.Keys(r.found)))
}

// outermost leaves out what is below another.
func outermost(sorted []string) Reads {
	var kept Reads
	for _, pointer := range sorted {
		if !kept.Overlap(pointer) {
			kept = append(kept, pointer)
		}
	}
	return kept
}

// reader walks compiled rules in the order in which they are evaluated. Every mention of the input counts as a read: as a
// value, as an index, and as what a "with" replaces.
type reader struct {
	compiler *ast.Compiler
	found    map[string]bool
	params   map[ast.Var]constants // of functions: what calls pass
	again    bool
}

func (r *reader) rule(rule *ast.Rule) {
	known := make(map[ast.Var]constants)
	for _, arg := range rule.Head.Args {
		if v, isVar := arg.Value.(ast.Var); isVar {
			known[v] = r.params[v]
		}
	}
	r.body(rule.Body, known)
	for _, element := range rule.Head.Ref()[1:] {
		r.walk(element, known)
	}
	r.walk(rule.Head, known)
	if rule.Else != nil {
		r.rule(rule.Else)
	}
}

func (r *reader) body(body ast.Body, known map[ast.Var]constants) {
	for _, expr := range body {
		r.expr(expr, known)
		if !expr.Negated && len(expr.With) == 0 && expr.IsEquality() {
			learn(expr.Operand(0), expr.Operand(1), known)
			learn(expr.Operand(1), expr.Operand(0), known)
		}
	}
}

func (r *reader) expr(expr *ast.Expr, known map[ast.Var]constants) {
	for _, with := range expr.With {
		r.walk(with.Target, known)
		r.walk(with.Value, known)
	}
	if terms, isCall := expr.Terms.([]*ast.Term); isCall {
		r.call(terms, known)
		return
	}
	r.walk(expr.Terms, known)
}

// call passes arguments to a function.
func (r *reader) call(terms []*ast.Term, known map[ast.Var]constants) {
	operator, _ := terms[0].Value.(ast.Ref)
	for _, function := range r.compiler.GetRules(operator) {
		r.pass(function, func(i int) constants {
			if i+1 < len(terms) {
				return constantsOf(terms[i+1], known)
			}
			return anything()
		})
	}
	for _, argument := range terms[1:] {
		r.walk(argument, known)
	}
}

func (r *reader) pass(function *ast.Rule, argument func(i int) constants) {
	for rule := function; rule != nil; rule = rule.Else {
		for i, arg := range rule.Head.Args {
			v, isVar := arg.Value.(ast.Var)
			if !isVar {
				continue
			}
			merged, grown := r.params[v].with(argument(i))
			r.params[v] = merged
			r.again = r.again || grown
		}
	}
}

// walk goes through anything that is no rule, expression or call. A body below has variables of its own.
func (r *reader) walk(node any, known map[ast.Var]constants) {
	ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case ast.Body:
			r.body(x, maps.Clone(known))
		case ast.Call:
			r.call(x, known)
		case ast.Ref:
			r.ref(x, known)
		case ast.Var:
			if x.Equal(ast.InputRootDocument.Value) {
				r.found[admission.InputPointer] = true
			}
			return false
		default:
			return false
		}
		return true
	}).Walk(node)
}

func (r *reader) ref(ref ast.Ref, known map[ast.Var]constants) {
	switch {
	case ref[0].Equal(ast.InputRootDocument):
		for _, pointer := range pointersOf(ref, known) {
			r.found[pointer] = true
		}
	case ref.HasPrefix(ast.DefaultRootRef):
		for _, function := range r.compiler.GetRules(ref.GroundPrefix()) { // mentioned, and not called: perhaps by a with
			r.pass(function, func(int) constants { return anything() })
		}
	default:
		r.walk(ref[0], known)
	}
	for _, element := range ref[1:] {
		r.walk(element, known)
	}
}

// mostPointers bounds what one reference can come to.
const mostPointers = 100

// pointersOf are the pointers of a reference, up to its first element that is not one of a few constant texts. An index of an
// array is no such element: removing one element moves the ones after it.
func pointersOf(ref ast.Ref, known map[ast.Var]constants) []string {
	pointers := []string{admission.InputPointer}
	for _, element := range ref[1:] {
		names := constantsOf(element, known)
		if names.any || names.many || slices.ContainsFunc(pointers, isSet) || len(pointers)*len(names.texts) > mostPointers {
			break
		}
		var longer []string
		for _, pointer := range pointers {
			for _, name := range slices.Sorted(maps.Keys(names.texts)) {
				longer = append(longer, pointer+"/"+url.PathEscape(name))
			}
		}
		pointers = longer
	}
	return pointers
}

// isSet says whether a place of the input is a set to rules and an array in JSON. Rules look an element up by itself, JSON by
// its index.
func isSet(pointer string) bool {
	return pointer == "/input/facts/secret_keys" || pointer == "/input/facts/global_secret_keys"
}
