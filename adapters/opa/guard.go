package opa

import (
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// A guard tells ahead of an evaluation that a rule cannot hold. Rules that deny hold seldom, and what keeps
// them from holding is mostly a comparison or two, which cost a fraction of their evaluation by the engine,
// and which the engine's own rule index cannot use because they are negations and calls. A guard only ever
// leaves rules out: whatever it does not know or cannot tell leaves the rule to the engine.
type guard struct {
	steps []step
	slots int // how many variables the steps bind
}

// outcome of a body or a part of it.
type outcome uint8

const (
	unknown outcome = iota // the engine must evaluate it
	fails
	holds
)

// step is one expression of a body. It runs the rest of the body for each way in which it holds.
type step interface {
	try(s *search, base int, rest []step) outcome
}

// maxSteps bounds the search of one look-up, so that long work is left to the engine, which can be cancelled.
const maxSteps = 1 << 14

// effort is how many steps a builtin's operand counts for.
func effort(operand ast.Value) int {
	switch value := operand.(type) {
	case ast.String:
		return len(value) / 64
	case *ast.Array:
		return value.Len() / 8
	case ast.Object:
		return value.Len() / 8
	case ast.Set:
		return value.Len() / 8
	default:
		return 0
	}
}

// search is the state of the guards of one look-up. Its variables are slots of one stack, on which each body
// has its own part from base on.
type search struct {
	resolver ast.ValueResolver
	stack    []ast.Value
	top      int
	known    []told // by number of the document
	left     int    // steps

	operands [maxOperands]*ast.Term
	result   ast.Value
	collect  func(*ast.Term) error // sets result
}

// told is what is known of a document in this look-up.
type told struct {
	asked   bool
	outcome outcome
	value   ast.Value
}

const maxOperands = 4

func newSearch(documents int) *search {
	s := &search{known: make([]told, documents)}
	for i := range s.operands {
		s.operands[i] = new(ast.Term)
	}
	s.collect = func(result *ast.Term) error {
		s.result = result.Value
		return nil
	}
	return s
}

func (s *search) start(resolver ast.ValueResolver) {
	s.resolver, s.left, s.top = resolver, maxSteps, 0
	clear(s.known)
}

// stop lets go of all values.
func (s *search) stop() {
	s.resolver, s.result = nil, nil
	clear(s.known)
	clear(s.stack)
	for _, operand := range s.operands {
		operand.Value = nil
	}
}

// excludes says that the guarded rule cannot hold.
func (s *search) excludes(g *guard) bool {
	base := s.enter(g)
	defer s.leave(base)
	return s.run(g.steps, base) == fails
}

// enter gives a body its part of the stack, and leave takes it back; what it holds stays until it is taken
// again.
func (s *search) enter(g *guard) (base int) {
	base = s.top
	s.top += g.slots
	if s.top > len(s.stack) {
		s.stack = append(s.stack, make([]ast.Value, s.top-len(s.stack))...)
	}
	return base
}

func (s *search) leave(base int) { s.top = base }

func (s *search) run(steps []step, base int) outcome {
	if len(steps) == 0 {
		return holds
	}
	s.left--
	if s.left < 0 {
		return unknown
	}
	return steps[0].try(s, base, steps[1:])
}

// operand is what an expression works with: a constant, a variable that is bound, or an array of such.
type operand struct {
	constant ast.Value
	slot     int
	array    []operand
}

func (s *search) value(o operand, base int) ast.Value {
	switch {
	case o.constant != nil:
		return o.constant
	case o.array != nil:
		elements := make([]*ast.Term, len(o.array))
		for i, element := range o.array {
			elements[i] = ast.NewTerm(s.value(element, base))
		}
		return ast.NewArray(elements...)
	default:
		return s.stack[base+o.slot]
	}
}

// target is what becomes of a value: it is bound to a free variable, compared, or must only be true.
type target struct {
	bind    bool
	compare bool
	operand operand // its slot, or what to compare with
}

func (s *search) meet(t target, value ast.Value, base int) bool {
	switch {
	case t.bind:
		s.stack[base+t.operand.slot] = value
		return true
	case t.compare:
		return ast.ValueEqual(s.value(t.operand, base), value)
	default:
		return value != ast.Boolean(false)
	}
}

// read is target = operand.
type read struct {
	from operand
	to   target
}

func (r read) try(s *search, base int, rest []step) outcome {
	if !s.meet(r.to, s.value(r.from, base), base) {
		return fails
	}
	return s.run(rest, base)
}

// resolve is target = input.a.b
type resolve struct {
	ref ast.Ref
	to  target
}

func (r resolve) try(s *search, base int, rest []step) outcome {
	value, err := s.resolver.Resolve(r.ref)
	switch {
	case err != nil:
		return unknown
	case value == nil || !s.meet(r.to, value, base):
		return fails
	}
	return s.run(rest, base)
}

// lookup is target = collection[key].
type lookup struct {
	collection operand
	key        operand
	to         target
}

func (l lookup) try(s *search, base int, rest []step) outcome {
	value, err := s.value(l.collection, base).Find(ast.Ref{ast.NewTerm(s.value(l.key, base))})
	if err != nil || value == nil || !s.meet(l.to, value, base) {
		return fails
	}
	return s.run(rest, base)
}

// iterate is target = collection[free variable].
type iterate struct {
	collection operand
	key        int
	to         target
}

func (it iterate) try(s *search, base int, rest []step) outcome {
	result := fails
	each := func(key, value *ast.Term) bool {
		s.stack[base+it.key] = key.Value
		if s.meet(it.to, value.Value, base) {
			result = s.run(rest, base)
		}
		return result != fails
	}
	switch collection := s.value(it.collection, base).(type) {
	case *ast.Array:
		for i := range collection.Len() {
			if each(ast.InternedTerm(i), collection.Elem(i)) {
				break
			}
		}
	case ast.Object:
		collection.Until(each)
	case ast.Set:
		collection.Until(func(element *ast.Term) bool { return each(element, element) })
	}
	return result
}

// call is target = builtin(operands).
type call struct {
	function topdown.BuiltinFunc
	operands []operand
	to       target
}

func (c call) try(s *search, base int, rest []step) outcome {
	for i, o := range c.operands {
		s.operands[i].Value = s.value(o, base)
		s.left -= effort(s.operands[i].Value)
	}
	if s.left < 0 {
		return unknown
	}
	s.result = nil
	err := c.function(topdown.BuiltinContext{}, s.operands[:len(c.operands)], s.collect)
	switch {
	case err != nil:
		return unknown // the engine makes it an error of the evaluation
	case s.result == nil || !s.meet(c.to, s.result, base):
		return fails
	}
	return s.run(rest, base)
}

// negation is not, and binds nothing.
type negation struct{ steps []step }

func (n negation) try(s *search, base int, rest []step) outcome {
	switch s.run(n.steps, base) {
	case holds:
		return fails
	case fails:
		return s.run(rest, base)
	default:
		return unknown
	}
}

// opaque is an expression that only the engine understands.
type opaque struct{}

func (opaque) try(*search, int, []step) outcome { return unknown }

// document is all rules of one name.
type document struct {
	number int
	bodies []definition
	set    bool // a partial set, of which only emptiness is asked
	opaque bool
}

// definition is one rule of a document: its value, or, of a function, what its arguments have to be.
type definition struct {
	guard
	arguments []target
	value     operand
}

// ask is target = document.
type ask struct {
	document *document
	to       target
}

func (a ask) try(s *search, base int, rest []step) outcome {
	known := s.tell(a.document)
	switch {
	case known.outcome != holds:
		return known.outcome
	case a.document.set:
		return unknown
	case !s.meet(a.to, known.value, base):
		return fails
	}
	return s.run(rest, base)
}

// tell evaluates a document once in each look-up.
func (s *search) tell(d *document) told {
	if s.known[d.number].asked {
		return s.known[d.number]
	}
	result := told{asked: true, outcome: fails}
	for i := range d.bodies {
		body := &d.bodies[i]
		base := s.enter(&body.guard)
		outcome := s.run(body.steps, base)
		s.leave(base)
		if outcome == fails {
			continue
		}
		if outcome == holds && !d.set {
			value := s.value(body.value, base)
			if result.value != nil && !ast.ValueEqual(result.value, value) {
				outcome = unknown // a conflict, which is an error of the evaluation
			}
			result.value = value
		}
		result.outcome = outcome
		if outcome == unknown || d.set {
			break
		}
	}
	s.known[d.number] = result
	return result
}

// apply is a call of a function of the policies that says true or is undefined.
type apply struct {
	function *document
	operands []operand
}

func (a apply) try(s *search, base int, rest []step) outcome {
	for i := range a.function.bodies {
		switch a.body(s, base, &a.function.bodies[i]) {
		case holds:
			return s.run(rest, base)
		case unknown:
			return unknown
		}
	}
	return fails
}

func (a apply) body(s *search, base int, body *definition) outcome {
	inner := s.enter(&body.guard)
	defer s.leave(inner)
	for i, argument := range body.arguments {
		if !s.meet(argument, s.value(a.operands[i], base), inner) {
			return fails
		}
	}
	return s.run(body.steps, inner)
}

// every is every key, value in domain { body }.
type every struct {
	counterexample iterate
	negated        []step // of the body
}

func (e every) try(s *search, base int, rest []step) outcome {
	switch e.counterexample.try(s, base, e.negated) {
	case fails:
		return s.run(rest, base)
	case holds:
		return fails
	default:
		return unknown
	}
}
