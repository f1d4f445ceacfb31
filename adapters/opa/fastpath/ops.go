package fastpath

import (
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

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
	switch collection := s.value(it.collection, base).(type) {
	case *ast.Array:
		for i := range collection.Len() {
			result := it.member(s, base, rest, ast.InternedTerm(i), collection.Elem(i))
			if result != fails {
				return result
			}
		}
	case ast.Set:
		for _, element := range collection.Slice() {
			result := it.member(s, base, rest, element, element)
			if result != fails {
				return result
			}
		}
	case ast.Object:
		return it.members(s, base, rest, collection)
	}
	return fails
}

func (it iterate) members(s *search, base int, rest []step, of ast.Object) outcome {
	result := fails
	of.Until(func(key, value *ast.Term) bool {
		result = it.member(s, base, rest, key, value)
		return result != fails
	})
	return result
}

func (it iterate) member(s *search, base int, rest []step, key, value *ast.Term) outcome {
	s.stack[base+it.key] = key.Value
	if !s.meet(it.to, value.Value, base) {
		return fails
	}
	return s.run(rest, base)
}

// call is target = builtin(operands).
type call struct {
	function topdown.BuiltinFunc
	operands []operand
	to       target
}

func (c call) try(s *search, base int, rest []step) outcome {
	work := 1
	for i, o := range c.operands {
		s.operands[i].Value = s.value(o, base)
		work *= effort(s.operands[i].Value)
	}
	s.left -= work
	if s.left < 0 {
		return unknown
	}
	s.result = nil
	err := c.function(topdown.BuiltinContext{}, s.operands[:len(c.operands)], s.collect)
	if s.result != nil && !ast.IsScalar(s.result) { // it may hold the operands
		s.renewOperands(len(c.operands))
	}
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

// keep is the end of a search that gathers: it goes back for the next way.
type keep struct{ value operand }

func (k keep) try(s *search, base int, _ []step) outcome {
	s.kept = append(s.kept, ast.NewTerm(s.value(k.value, base)))
	return fails
}

// comprehension is target = [value | body] or {value | body}.
type comprehension struct {
	gather []step
	set    bool
	to     target
}

func (c comprehension) try(s *search, base int, rest []step) outcome {
	values, all := s.gather(c.gather, base)
	if !all {
		return unknown
	}
	var value ast.Value = ast.NewArray(values...)
	if c.set {
		value = ast.NewSet(values...)
	}
	if !s.meet(c.to, value, base) {
		return fails
	}
	return s.run(rest, base)
}
