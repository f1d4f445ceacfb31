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

func (r *read) try(s *search, base int, rest []step) outcome {
	return s.then(&r.to, s.value(&r.from, base), base, rest)
}

// resolve is target = input.a.b
type resolve struct {
	ref ast.Ref
	to  target
}

func (r *resolve) try(s *search, base int, rest []step) outcome {
	value, err := s.resolver.Resolve(r.ref)
	switch {
	case err != nil:
		return unknown
	case value == nil:
		return fails
	}
	return s.then(&r.to, value, base, rest)
}

// lookup is target = collection[key].
type lookup struct {
	collection operand
	key        operand
	stored     bool // the collection is a part of the data
	to         target
}

func (l *lookup) try(s *search, base int, rest []step) outcome {
	of := member
	if l.stored {
		of = storedMember
	}
	collection, key := s.value(&l.collection, base), s.value(&l.key, base)
	if l.stored && l.to.isBare() && isNumberOf(collection, key) {
		return unknown
	}
	value, found := of(collection, key)
	if found != holds {
		return found
	}
	return s.then(&l.to, value, base, rest)
}

// isNumberOf says whether a number is looked up among names. For an expression that is only data.x[input.y], OPA's rule index
// expects input.y to be one of the keys of data.x. The number 1 is none of them to the index, but the store finds "1" for it.
func isNumberOf(collection, key ast.Value) bool {
	_, isObject := collection.(ast.Object)
	_, isNumber := key.(ast.Number)
	return isObject && isNumber
}

// member is what OPA finds at a key. A scalar has no members, and an array has none at a key that is no number.
func member(collection, key ast.Value) (ast.Value, outcome) {
	switch of := collection.(type) {
	case *ast.Array:
		return termAt(of.Get(ast.NewTerm(key)))
	case ast.Object:
		return termAt(of.Get(ast.NewTerm(key)))
	case ast.Set:
		return key, when(of.Contains(ast.NewTerm(key)))
	case ast.Null, ast.Boolean, ast.Number, ast.String:
		return nil, fails
	default:
		return nil, unknown
	}
}

func termAt(found *ast.Term) (ast.Value, outcome) {
	if found == nil {
		return nil, fails
	}
	return found.Value, holds
}

// storedMember is member for references that OPA turns into a path of its store. A path consists of texts. So 1 finds the
// member "1" of an object, and "0" finds the first element of an array, which is left to OPA. Other keys find nothing.
func storedMember(collection, key ast.Value) (ast.Value, outcome) {
	switch name := key.(type) {
	case ast.String:
		if _, isArray := collection.(*ast.Array); isArray {
			return nil, unknown
		}
	case ast.Number:
		if _, isObject := collection.(ast.Object); isObject {
			key = ast.String(name)
		}
	case ast.Null, ast.Boolean, *ast.Array, ast.Object, ast.Set:
		return nil, fails
	default:
		return nil, unknown
	}
	return member(collection, key)
}

// stored is the value of the data at a path of constants.
func stored(data ast.Value, path ast.Ref) (ast.Value, outcome) {
	for _, name := range path {
		below, found := storedMember(data, name.Value)
		if found != holds {
			return nil, found
		}
		data = below
	}
	return data, holds
}

// iterate is target = collection[free variable].
type iterate struct {
	collection operand
	key        int
	to         target
}

// try finds nothing in a scalar.
func (it *iterate) try(s *search, base int, rest []step) outcome {
	switch collection := s.value(&it.collection, base).(type) {
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
	case ast.Null, ast.Boolean, ast.Number, ast.String:
		return fails
	default:
		return unknown
	}
	return fails
}

func (it *iterate) members(s *search, base int, rest []step, of ast.Object) outcome {
	result := fails
	of.Until(func(key, value *ast.Term) bool {
		result = it.member(s, base, rest, key, value)
		return result != fails
	})
	return result
}

func (it *iterate) member(s *search, base int, rest []step, key, value *ast.Term) outcome {
	s.stack[base+it.key] = key.Value
	return s.then(&it.to, value.Value, base, rest)
}

// call is target = builtin(operands).
type call struct {
	function topdown.BuiltinFunc
	operands []operand
	to       target
}

func (c *call) try(s *search, base int, rest []step) outcome {
	work := 1
	for i := range c.operands {
		s.operands[i].Value = s.value(&c.operands[i], base)
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
	if err != nil || s.result == nil {
		return unknown // OPA makes an error of the evaluation of it
	}
	return s.then(&c.to, s.result, base, rest)
}

// negation is "not". It binds nothing.
type negation struct{ steps []step }

func (n *negation) try(s *search, base int, rest []step) outcome {
	switch s.run(n.steps, base) {
	case holds:
		return fails
	case fails:
		return s.run(rest, base)
	default:
		return unknown
	}
}

// opaque is an expression that only OPA understands.
type opaque struct{}

func (opaque) try(*search, int, []step) outcome { return unknown }

// every is every key, value in domain { body }. Over a value that is no collection it is undefined.
type every struct {
	counterexample iterate
	negated        []step // of the body
}

func (e *every) try(s *search, base int, rest []step) outcome {
	switch s.value(&e.counterexample.collection, base).(type) {
	case *ast.Array, ast.Object, ast.Set:
	case ast.Null, ast.Boolean, ast.Number, ast.String:
		return fails
	default:
		return unknown
	}
	switch e.counterexample.try(s, base, e.negated) {
	case fails:
		return s.run(rest, base)
	case holds:
		return fails
	default:
		return unknown
	}
}

// keep ends each way of a search that gathers: it keeps the value and says "fails", so that the search tries the next way.
type keep struct{ value operand }

func (k *keep) try(s *search, base int, _ []step) outcome {
	s.kept = append(s.kept, ast.NewTerm(s.value(&k.value, base)))
	return fails
}

// comprehension is target = [value | body] or {value | body}.
type comprehension struct {
	gather []step
	set    bool
	to     target
}

func (c *comprehension) try(s *search, base int, rest []step) outcome {
	values, all := s.gather(c.gather, base)
	if !all {
		return unknown
	}
	var value ast.Value = ast.NewArray(values...)
	if c.set {
		value = ast.NewSet(values...)
	}
	return s.then(&c.to, value, base, rest)
}
