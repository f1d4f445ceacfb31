package fastpath

import "github.com/open-policy-agent/opa/v1/ast"

// A guard tells without OPA's evaluation whether a rule holds, and what its entries are. Mostly one or two comparisons keep a
// rule that denies from holding. They cost a fraction of OPA's evaluation. OPA's own rule index cannot use them, because they
// are negations and calls. A rule whose guard cannot tell is left to OPA.
type guard struct {
	steps  []step
	gather []step // the steps, and then the entry is kept
	slots  int    // how many variables the steps bind
}

// outcome of a body or a part of it.
type outcome uint8

const (
	unknown outcome = iota // OPA must evaluate it
	fails
	holds
)

// step is one expression of a body. It runs the rest of the body for each way in which it holds.
type step interface {
	try(s *search, base int, rest []step) outcome
}

// maxSteps bounds the search of one look-up. Longer work is left to OPA, which can be cancelled.
const maxSteps = 1 << 14

// effort is what a builtin's operand multiplies its steps by.
func effort(operand ast.Value) int {
	size := 0
	switch value := operand.(type) {
	case ast.String:
		size = len(value) / 64
	case *ast.Array:
		size = value.Len() / 8
	case ast.Object:
		size = value.Len() / 8
	case ast.Set:
		size = value.Len() / 8
	}
	return max(size, 1)
}

// search is the state of the guards in one look-up. All variables are slots of one stack. Each body has its own part of it,
// from base on.
type search struct {
	resolver ast.ValueResolver
	stack    []ast.Value
	top      int
	known    []told // by number of the document
	kept     []*ast.Term
	left     int // steps

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
	s.renewOperands(maxOperands)
	s.collect = func(result *ast.Term) error {
		s.result = result.Value
		return nil
	}
	return s
}

func (s *search) renewOperands(count int) {
	for i := range count {
		s.operands[i] = new(ast.Term)
	}
}

func (s *search) start(resolver ast.ValueResolver) {
	s.resolver, s.left, s.top = resolver, maxSteps, 0
}

// stop forgets all values, so that they can be collected.
func (s *search) stop() {
	s.resolver, s.result, s.kept = nil, nil, nil
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

// entries are those of the guarded rule.
func (s *search) entries(g *guard) (entries []*ast.Term, all bool) {
	base := s.enter(g)
	defer s.leave(base)
	return s.gather(g.gather, base)
}

// gather runs steps that end by keeping a value, for all ways in which they hold.
func (s *search) gather(steps []step, base int) (values []*ast.Term, all bool) {
	outer := s.kept
	s.kept = nil
	result := s.run(steps, base)
	values, s.kept = s.kept, outer
	return values, result == fails
}

// enter gives a body its part of the stack, and leave takes it back. The values there stay until the part is used again.
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

// operand is what an expression works with: a constant, a variable that is bound, or an array or object of such.
type operand struct {
	constant ast.Value
	plain    bool // the numbers of the constant are spelt as usual
	slot     int
	array    []operand
	object   []field
}

type field struct {
	key   *ast.Term
	value operand
}

func (s *search) value(o *operand, base int) ast.Value {
	switch {
	case o.constant != nil:
		return o.constant
	case o.array != nil:
		elements := make([]*ast.Term, len(o.array))
		for i := range o.array {
			elements[i] = ast.NewTerm(s.value(&o.array[i], base))
		}
		return ast.NewArray(elements...)
	case o.object != nil:
		object := ast.NewObjectWithCapacity(len(o.object))
		for i := range o.object {
			object.Insert(o.object[i].key, ast.NewTerm(s.value(&o.object[i].value, base)))
		}
		return object
	default:
		return s.stack[base+o.slot]
	}
}

// target says what is done with a value: it is bound to a free variable, or compared, or only has to be there and not false.
type target struct {
	bind    bool
	compare bool
	operand operand // its slot, or what to compare with
}

// isBare says that the value is neither bound nor compared: it only has to be there and not false.
func (t *target) isBare() bool { return !t.bind && !t.compare }

// meet binds or compares a value as OPA's unification does.
func (s *search) meet(t *target, value ast.Value, base int) outcome {
	switch {
	case t.bind:
		s.stack[base+t.operand.slot] = value
		return holds
	case t.compare:
		return same(s.value(&t.operand, base), value)
	default:
		return when(value != ast.Boolean(false))
	}
}

func when(condition bool) outcome {
	if condition {
		return holds
	}
	return fails
}

// then goes on with the rest of a body when the value meets its target.
func (s *search) then(t *target, value ast.Value, base int, rest []step) outcome {
	met := s.meet(t, value, base)
	if met != holds {
		return met
	}
	return s.run(rest, base)
}
