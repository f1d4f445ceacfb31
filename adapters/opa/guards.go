package opa

import (
	"maps"
	"slices"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// quick are the builtins that guards call: they depend on their operands alone, and their time is no more than
// linear in them.
var quick = []*ast.Builtin{
	ast.Equal, ast.NotEqual, ast.LessThan, ast.LessThanEq, ast.GreaterThan, ast.GreaterThanEq, ast.Member, ast.Count,
	ast.IsString, ast.IsNumber, ast.IsBoolean, ast.IsArray, ast.IsSet, ast.IsObject, ast.IsNull,
	ast.Contains, ast.StartsWith, ast.EndsWith, ast.AnyPrefixMatch, ast.AnySuffixMatch, ast.RegexMatch,
	ast.Lower, ast.Upper, ast.Trim, ast.TrimLeft, ast.TrimRight, ast.TrimPrefix, ast.TrimSuffix, ast.TrimSpace, ast.Concat,
	ast.Floor,
}

// guards makes the guards of one compiler's rules. Everything that is compiled here either does as the engine
// does, with the engine's own values and builtins, or is opaque.
type guards struct {
	compiler  *ast.Compiler
	data      ast.Value
	documents map[*ast.TreeNode]*document
	quick     map[string]*ast.Builtin
}

func newGuards(compiler *ast.Compiler, data ast.Value) *guards {
	g := &guards{compiler: compiler, data: data, documents: make(map[*ast.TreeNode]*document), quick: make(map[string]*ast.Builtin)}
	for _, builtin := range quick {
		g.quick[builtin.Name] = builtin
	}
	return g
}

// of is the guard of a rule; nil when nothing of it is understood.
func (g *guards) of(rule *ast.Rule) *guard {
	s := &scope{guards: g, slots: make(map[ast.Var]int)}
	steps := s.steps(rule.Body)
	if _, found := steps[0].(opaque); found {
		return nil
	}
	return &guard{steps: steps, slots: s.size}
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

// steps of a body, up to the first expression that is not understood.
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
		return s.inner(func() []step { return []step{negation{s.step(expr.Complement())}} })
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

// inner makes steps whose variables end with them.
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
		return operand{constant: term.Value}, true
	}
	array, isArray := term.Value.(*ast.Array)
	if !isArray {
		return operand{}, false
	}
	elements, ok := s.operands(slices.Collect(func(yield func(*ast.Term) bool) { array.Until(func(t *ast.Term) bool { return !yield(t) }) }))
	return operand{array: elements}, ok
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

// equal makes target = term. The target is made last: what it binds is not bound in the term.
func (s *scope) equal(term *ast.Term, to func() (target, bool)) []step {
	if ref, isRef := term.Value.(ast.Ref); isRef {
		return s.reference(ref, to)
	}
	from, ok := s.operand(term)
	if ok {
		target, ok := to()
		if ok {
			return []step{read{from, target}}
		}
	}
	return []step{opaque{}}
}

func (s *scope) reference(ref ast.Ref, to func() (target, bool)) []step {
	prefix := ref.GroundPrefix()
	switch {
	case ref[0].Equal(ast.InputRootDocument):
		if len(prefix) == len(ref) {
			return s.meeting(to, func(to target) step { return resolve{ref, to} })
		}
		slot := s.free()
		return append([]step{resolve{prefix, target{bind: true, operand: operand{slot: slot}}}}, s.member(operand{slot: slot}, ref[len(prefix):], to)...)
	case ref[0].Equal(ast.DefaultRootDocument):
		return s.data(ref, to)
	}
	collection, ok := s.operand(ref[0])
	if !ok {
		return []step{opaque{}}
	}
	return s.member(collection, ref[1:], to)
}

func (s *scope) meeting(to func() (target, bool), make func(target) step) []step {
	target, ok := to()
	if !ok {
		return []step{opaque{}}
	}
	return []step{make(target)}
}

// member makes target = collection[key].
func (s *scope) member(collection operand, path ast.Ref, to func() (target, bool)) []step {
	if len(path) != 1 {
		return []step{opaque{}}
	}
	if s.isFree(path[0]) {
		key := s.free()
		s.slots[path[0].Value.(ast.Var)] = key
		return s.meeting(to, func(to target) step { return iterate{collection, key, to} })
	}
	key, ok := s.operand(path[0])
	if !ok {
		return []step{opaque{}}
	}
	return s.meeting(to, func(to target) step { return lookup{collection, key, to} })
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

// never holds.
var never = read{from: operand{constant: ast.Boolean(false)}}

func (s *scope) base(ref ast.Ref, to func() (target, bool)) []step {
	prefix := ref.GroundPrefix()
	value, err := s.guards.data.Find(prefix[1:])
	if err != nil {
		return []step{never}
	}
	if len(prefix) == len(ref) {
		return s.meeting(to, func(to target) step { return read{operand{constant: value}, to} })
	}
	return s.member(operand{constant: value}, ref[len(prefix):], to)
}

func (s *scope) rules(node *ast.TreeNode, path ast.Ref, to func() (target, bool)) []step {
	document := s.document(node)
	switch {
	case document.opaque:
	case document.set && len(path) == 1 && s.isFree(path[0]):
		return []step{ask{document: document}, opaque{}}
	case !document.set && len(path) == 0:
		return s.meeting(to, func(to target) step { return ask{document, to} })
	}
	return []step{opaque{}}
}

// document makes what guards know of the rules of one name.
func (g *guards) document(node *ast.TreeNode) *document {
	if made := g.documents[node]; made != nil {
		return made
	}
	d := &document{number: len(g.documents), opaque: len(node.Children) > 0}
	g.documents[node] = d
	for _, rule := range node.Values {
		body, ok := g.definition(rule)
		d.opaque = d.opaque || !ok
		d.set = rule.Head.RuleKind() == ast.MultiValue
		d.bodies = append(d.bodies, body)
	}
	return d
}

func (g *guards) definition(rule *ast.Rule) (definition, bool) {
	if rule.Default || rule.Else != nil || len(rule.Head.Ref()) != 1 || rule.Head.DocKind() == ast.PartialObjectDoc {
		return definition{}, false
	}
	s := &scope{guards: g, slots: make(map[ast.Var]int)}
	var made definition
	for _, argument := range rule.Head.Args {
		target, ok := s.target(argument)
		if !ok {
			return definition{}, false
		}
		made.arguments = append(made.arguments, target)
	}
	made.steps = s.steps(rule.Body)
	made.slots = s.size
	if rule.Head.RuleKind() == ast.MultiValue || isOpaque(made.steps) {
		return made, true
	}
	value, ok := s.operand(rule.Head.Value)
	made.value = value
	return made, ok && (value.constant != nil || !slices.ContainsFunc(made.steps, isIteration))
}

// isIteration says whether a body can hold in several ways.
func isIteration(one step) bool {
	_, found := one.(iterate)
	return found
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
	return s.meeting(func() (target, bool) {
		if len(terms) == arity {
			return target{}, true
		}
		return s.target(terms[arity])
	}, func(to target) step { return call{function, operands, to} })
}

func (s *scope) function(name ast.Ref, terms []*ast.Term) []step {
	node := s.compiler.RuleTree.Find(name)
	if node == nil || len(node.Values) == 0 || len(terms) != len(node.Values[0].Head.Args) {
		return []step{opaque{}}
	}
	operands, ok := s.operands(terms)
	function := s.document(node)
	if !ok || function.opaque || slices.ContainsFunc(node.Values, saysMore) {
		return []step{opaque{}}
	}
	return []step{apply{function, operands}}
}

// saysMore says whether a function gives another value than true.
func saysMore(rule *ast.Rule) bool { return !ast.ValueEqual(rule.Head.Value.Value, ast.Boolean(true)) }

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
		return []step{every{counterexample, []step{negation{s.steps(terms.Body)}}}}
	})
}

// guardedIndex is a rule index that leaves out what guards exclude as well.
type guardedIndex struct {
	ast.RuleIndex
	guards   map[*ast.Rule]*guard
	searches sync.Pool
}

// index guards the rules of a node whose index is built.
func (g *guards) index(node *ast.TreeNode) *guardedIndex {
	index := &guardedIndex{RuleIndex: node.Index, guards: make(map[*ast.Rule]*guard)}
	for _, rule := range node.Values {
		if made := g.of(rule); made != nil {
			index.guards[rule] = made
		}
	}
	index.searches.New = func() any { return newSearch(len(g.documents)) }
	return index
}

func (i *guardedIndex) Lookup(resolver ast.ValueResolver) (*ast.IndexResult, error) {
	result, err := i.RuleIndex.Lookup(resolver)
	if err != nil || len(result.Rules) == 0 {
		return result, err
	}
	s := i.searches.Get().(*search)
	defer i.searches.Put(s)
	s.start(resolver)
	defer s.stop()
	result.Rules = slices.DeleteFunc(result.Rules, func(rule *ast.Rule) bool {
		guard := i.guards[rule]
		return guard != nil && s.excludes(guard)
	})
	return result, nil
}
