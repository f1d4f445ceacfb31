package fastpath

import (
	"maps"
	"slices"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// quick are the builtins that guards call. They depend on their operands alone, and their time is bounded by the product of
// the operands' sizes.
var quick = []*ast.Builtin{
	ast.Equal, ast.NotEqual, ast.LessThan, ast.LessThanEq, ast.GreaterThan, ast.GreaterThanEq, ast.Member, ast.Count,
	ast.IsString, ast.IsNumber, ast.IsBoolean, ast.IsArray, ast.IsSet, ast.IsObject, ast.IsNull,
	ast.Contains, ast.StartsWith, ast.EndsWith, ast.AnyPrefixMatch, ast.AnySuffixMatch, ast.RegexMatch,
	ast.Lower, ast.Upper, ast.Trim, ast.TrimLeft, ast.TrimRight, ast.TrimPrefix, ast.TrimSuffix, ast.TrimSpace, ast.Concat,
	ast.Floor, ast.Split, ast.Sprintf, ast.ObjectUnion, ast.NetCIDRContainsMatches,
}

// guards makes the guards of one compiler's rules. What is compiled here either does what OPA does, with OPA's own values and
// builtins, or is opaque.
type guards struct {
	compiler  *ast.Compiler
	data      ast.Value
	documents map[*ast.TreeNode]*document
	quick     map[string]*ast.Builtin
	searches  sync.Pool
}

func newGuards(compiler *ast.Compiler, data ast.Value) *guards {
	g := &guards{compiler: compiler, data: data, documents: make(map[*ast.TreeNode]*document), quick: make(map[string]*ast.Builtin)}
	for _, builtin := range quick {
		g.quick[builtin.Name] = builtin
	}
	g.searches.New = func() any { return newSearch(len(g.documents)) }
	return g
}

// of is the guard of a rule; nil when nothing of it is understood.
func (g *guards) of(rule *ast.Rule) *guard {
	s := &scope{guards: g, slots: make(map[ast.Var]int)}
	made := guard{steps: s.steps(rule.Body)}
	if _, found := made.steps[0].(opaque); found {
		return nil
	}
	made.gather = s.keeping(made.steps, rule.Head.Key)
	made.slots = s.size
	return &made
}

// keeping gives the steps, and after them one that keeps a term's value.
func (s *scope) keeping(steps []step, term *ast.Term) []step {
	value, ok := s.operand(term)
	if !ok { // or the steps end before it is bound
		return append(slices.Clip(steps), opaque{})
	}
	return append(slices.Clip(steps), &keep{value})
}

// scope is the variables of one body that are bound: where each is on the stack.
type scope struct {
	*guards
	slots map[ast.Var]int
	size  int
}

// free takes a place on the stack.
func (s *scope) free() int {
	s.size++
	return s.size - 1
}

// steps makes the steps of a body, up to the first expression that is not understood.
func (s *scope) steps(body ast.Body) []step {
	var steps []step
	for _, expr := range body {
		steps = append(steps, s.step(expr)...)
		if isOpaque(steps) {
			break
		}
	}
	return steps
}

func isOpaque(steps []step) bool {
	_, found := steps[len(steps)-1].(opaque)
	return found
}

func (s *scope) step(expr *ast.Expr) []step {
	if len(expr.With) > 0 {
		return []step{opaque{}}
	}
	if expr.Negated {
		return s.inner(func() []step { return []step{&negation{s.step(expr.Complement())}} })
	}
	switch terms := expr.Terms.(type) {
	case *ast.Term:
		return s.equal(terms, func() (target, bool) { return target{}, true })
	case *ast.Every:
		return s.every(terms)
	case []*ast.Term:
		switch {
		case !expr.IsEquality():
			return s.call(expr)
		case isRef(terms[1]) && isRef(terms[2]):
			slot := operand{slot: s.free()}
			left := s.equal(terms[1], func() (target, bool) { return target{bind: true, operand: slot}, true })
			return append(left, s.equal(terms[2], func() (target, bool) { return target{compare: true, operand: slot}, true })...)
		case isRef(terms[2]):
			return s.equal(terms[2], func() (target, bool) { return s.target(terms[1]) })
		case isRef(terms[1]) || !s.isFree(terms[1]):
			return s.equal(terms[1], func() (target, bool) { return s.target(terms[2]) })
		default:
			return s.equal(terms[2], func() (target, bool) { return s.target(terms[1]) })
		}
	}
	return []step{opaque{}}
}

// inner makes steps whose variables are unknown after them.
func (s *scope) inner(steps func() []step) []step {
	outside := s.slots
	s.slots = maps.Clone(outside)
	defer func() { s.slots = outside }()
	return steps()
}

func isRef(term *ast.Term) bool {
	_, found := term.Value.(ast.Ref)
	return found
}

func (s *scope) isFree(term *ast.Term) bool {
	v, isVar := term.Value.(ast.Var)
	_, bound := s.slots[v]
	return isVar && !bound
}

func (s *scope) operand(term *ast.Term) (operand, bool) {
	switch value := term.Value.(type) {
	case ast.Var:
		slot, bound := s.slots[value]
		return operand{slot: slot}, bound
	case ast.Ref:
		return operand{}, false
	}
	if ast.IsConstant(term.Value) {
		return operand{constant: term.Value, plain: isPlain(term.Value)}, true
	}
	switch value := term.Value.(type) {
	case *ast.Array:
		elements, ok := s.operands(slices.Collect(func(yield func(*ast.Term) bool) { value.Until(func(t *ast.Term) bool { return !yield(t) }) }))
		return operand{array: elements}, ok
	case ast.Object:
		return s.object(value)
	}
	return operand{}, false
}

func (s *scope) object(of ast.Object) (operand, bool) {
	var made operand
	missing := of.Until(func(key, value *ast.Term) bool {
		operand, ok := s.operand(value)
		made.object = append(made.object, field{key, operand})
		return !ok || !ast.IsConstant(key.Value)
	})
	return made, !missing
}

func (s *scope) operands(terms []*ast.Term) ([]operand, bool) {
	operands := make([]operand, len(terms))
	for i, term := range terms {
		var ok bool
		operands[i], ok = s.operand(term)
		if !ok {
			return nil, false
		}
	}
	return operands, true
}

// target binds a variable that is free, from here on.
func (s *scope) target(term *ast.Term) (target, bool) {
	if s.isFree(term) {
		slot := s.free()
		s.slots[term.Value.(ast.Var)] = slot
		return target{bind: true, operand: operand{slot: slot}}, true
	}
	operand, ok := s.operand(term)
	return target{compare: true, operand: operand}, ok
}

// equal makes target = term. The target is made last: a variable that it binds is still free in the term.
func (s *scope) equal(term *ast.Term, to func() (target, bool)) []step {
	switch value := term.Value.(type) {
	case ast.Ref:
		return s.reference(value, to)
	case *ast.ArrayComprehension:
		return s.comprehension(term, value.Body, value.Term, to)
	case *ast.SetComprehension:
		return s.comprehension(term, value.Body, value.Term, to)
	}
	from, ok := s.operand(term)
	if ok {
		target, ok := to()
		if ok {
			return []step{&read{from, target}}
		}
	}
	return []step{opaque{}}
}

// comprehension leaves to OPA the comprehensions that OPA has an index for. OPA evaluates those once for all values of the
// variables around them, and some of these values may be errors.
func (s *scope) comprehension(whole *ast.Term, body ast.Body, term *ast.Term, to func() (target, bool)) []step {
	if s.compiler.ComprehensionIndex(whole) != nil {
		return []step{opaque{}}
	}
	_, set := whole.Value.(*ast.SetComprehension)
	gather := s.inner(func() []step { return s.keeping(s.steps(body), term) })
	return s.meeting(to, func(to target) step { return &comprehension{gather, set, to} })
}

func (s *scope) reference(ref ast.Ref, to func() (target, bool)) []step {
	prefix := ref.GroundPrefix()
	if slices.ContainsFunc(prefix[1:], func(term *ast.Term) bool { return !ast.IsConstant(term.Value) }) {
		return []step{opaque{}}
	}
	switch {
	case ref[0].Equal(ast.InputRootDocument):
		if len(prefix) == len(ref) {
			return s.meeting(to, func(to target) step { return &resolve{ref, to} })
		}
		slot := s.free()
		whole := &resolve{prefix, target{bind: true, operand: operand{slot: slot}}}
		return append([]step{whole}, s.member(operand{slot: slot}, false, ref[len(prefix):], to)...)
	case ref[0].Equal(ast.DefaultRootDocument):
		return s.data(ref, to)
	}
	collection, ok := s.operand(ref[0])
	if !ok {
		return []step{opaque{}}
	}
	return s.member(collection, false, ref[1:], to)
}

func (s *scope) meeting(to func() (target, bool), make func(target) step) []step {
	target, ok := to()
	if !ok {
		return []step{opaque{}}
	}
	return []step{make(target)}
}

// member makes target = collection[key][key].
func (s *scope) member(collection operand, stored bool, path ast.Ref, to func() (target, bool)) []step {
	if len(path) > 1 {
		slot := s.free()
		first := s.member(collection, stored, path[:1], func() (target, bool) { return target{bind: true, operand: operand{slot: slot}}, true })
		return append(first, s.member(operand{slot: slot}, stored, path[1:], to)...)
	}
	if s.isFree(path[0]) {
		key := s.free()
		s.slots[path[0].Value.(ast.Var)] = key
		return s.meeting(to, func(to target) step { return &iterate{collection, key, to} })
	}
	key, ok := s.operand(path[0])
	if !ok {
		return []step{opaque{}}
	}
	return s.meeting(to, func(to target) step { return &lookup{collection, key, stored, to} })
}

// data makes target = data.a.b, which is a rule or a value of the snapshot's data.
func (s *scope) data(ref ast.Ref, to func() (target, bool)) []step {
	node := s.compiler.RuleTree
	for i, term := range ref {
		if !term.IsGround() && i > 0 {
			return []step{opaque{}}
		}
		node = node.Child(term.Value)
		if node == nil {
			return s.base(ref, to)
		}
		if len(node.Values) > 0 {
			return s.rules(node, ref[i+1:], to)
		}
	}
	return []step{opaque{}}
}

// never is a step that does not hold.
var never = &read{from: operand{constant: ast.Boolean(false)}}

// base makes target = data.a.b of the snapshot's data.
func (s *scope) base(ref ast.Ref, to func() (target, bool)) []step {
	prefix := ref.GroundPrefix()
	value, found := stored(s.guards.data, prefix[1:])
	switch {
	case found == unknown:
		return []step{opaque{}}
	case found == fails:
		return []step{never}
	case len(prefix) == len(ref):
		return s.meeting(to, func(to target) step { return &read{operand{constant: value}, to} })
	}
	return s.member(operand{constant: value}, true, ref[len(prefix):], to)
}

func (s *scope) rules(node *ast.TreeNode, path ast.Ref, to func() (target, bool)) []step {
	document := s.document(node)
	switch {
	case document.opaque || document.function:
		return []step{opaque{}}
	case len(path) == 0:
		return s.meeting(to, func(to target) step { return &ask{document, to} })
	}
	slot := s.free()
	return append([]step{&ask{document, target{bind: true, operand: operand{slot: slot}}}}, s.member(operand{slot: slot}, false, path, to)...)
}

func (s *scope) call(expr *ast.Expr) []step {
	name := expr.Operator()
	builtin := s.quick[name.String()]
	terms := expr.Operands()
	if builtin == nil {
		return s.function(name, terms)
	}
	arity := len(builtin.Decl.FuncArgs().Args)
	operands, ok := s.operands(terms[:arity])
	if !ok {
		return []step{opaque{}}
	}
	function := topdown.GetBuiltin(builtin.Name)
	return s.meeting(s.output(terms[arity:]), func(to target) step { return &call{function, operands, to} })
}

// output is what becomes of a call's value: the term after its operands, if there is one.
func (s *scope) output(terms []*ast.Term) func() (target, bool) {
	return func() (target, bool) {
		if len(terms) == 0 {
			return target{}, true
		}
		return s.target(terms[0])
	}
}

func (s *scope) function(name ast.Ref, terms []*ast.Term) []step {
	node := s.compiler.RuleTree.Find(name)
	if node == nil || len(node.Values) == 0 {
		return []step{opaque{}}
	}
	arity := len(node.Values[0].Head.Args)
	operands, ok := s.operands(terms[:arity])
	function := s.document(node)
	if !ok || function.opaque || !function.function {
		return []step{opaque{}}
	}
	return s.meeting(s.output(terms[arity:]), func(to target) step { return &apply{function, operands, to} })
}

func (s *scope) every(terms *ast.Every) []step {
	domain, ok := s.operand(terms.Domain)
	if !ok {
		return []step{opaque{}}
	}
	return s.inner(func() []step {
		key, value := s.free(), s.free()
		if terms.Key != nil {
			s.slots[terms.Key.Value.(ast.Var)] = key
		}
		s.slots[terms.Value.Value.(ast.Var)] = value
		counterexample := iterate{domain, key, target{bind: true, operand: operand{slot: value}}}
		return []step{&every{counterexample, []step{&negation{s.steps(terms.Body)}}}}
	})
}
