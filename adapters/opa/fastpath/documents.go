package fastpath

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// document is all rules of one name.
type document struct {
	number   int
	bodies   []definition
	fallback ast.Value // of the default rule
	set      bool      // a partial set
	empty    ast.Set
	constant bool // every body says the same
	function bool
	opaque   bool
}

// definition is one rule of a document: its value, or the value that it adds to a set. Of a function it also has what the
// arguments must be.
type definition struct {
	guard
	arguments []target
	value     operand
	many      bool // it may hold in several ways
}

// document reads the rules of one name, as far as guards understand them.
func (g *guards) document(node *ast.TreeNode) *document {
	if made := g.documents[node]; made != nil {
		return made
	}
	d := &document{number: len(g.documents), opaque: len(node.Children) > 0, empty: ast.NewSet()}
	g.documents[node] = d
	for _, rule := range node.Values {
		d.set = rule.Head.RuleKind() == ast.MultiValue
		d.function = d.function || len(rule.Head.Args) > 0
		if rule.Default && len(rule.Head.Args) == 0 && ast.IsConstant(rule.Head.Value.Value) {
			d.fallback = rule.Head.Value.Value
			continue
		}
		body, ok := g.definition(rule)
		d.opaque = d.opaque || !ok
		d.bodies = append(d.bodies, body)
	}
	d.constant = !d.opaque && !slices.ContainsFunc(d.bodies, func(body definition) bool {
		constant := body.value.constant
		return constant == nil || !ast.ValueEqual(constant, d.bodies[0].value.constant)
	})
	return d
}

func (g *guards) definition(rule *ast.Rule) (definition, bool) {
	// A partial object has a longer reference in all that OPA parses today, so that the last condition says nothing more.
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
	switch {
	case rule.Head.RuleKind() == ast.MultiValue:
		made.gather = s.keeping(made.steps, rule.Head.Key)
		return made, true
	case isOpaque(made.steps):
		return made, true
	}
	value, ok := s.operand(rule.Head.Value)
	made.value, made.many = value, slices.ContainsFunc(made.steps, isIteration)
	made.gather = append(slices.Clip(made.steps), &keep{value})
	return made, ok
}

// isIteration says whether a body can hold in several ways.
func isIteration(one step) bool {
	_, found := one.(*iterate)
	return found
}

// ask is target = document.
type ask struct {
	document *document
	to       target
}

func (a *ask) try(s *search, base int, rest []step) outcome {
	known := s.tell(a.document)
	switch {
	case known.outcome != holds:
		return known.outcome
	}
	return s.then(&a.to, known.value, base, rest)
}

// tell evaluates a document, once in each look-up.
func (s *search) tell(d *document) told {
	known := s.known[d.number]
	if !known.asked {
		if d.set {
			known = s.elements(d)
		} else {
			known = s.complete(d)
		}
		known.asked = true
		s.known[d.number] = known
	}
	return known
}

func (s *search) elements(d *document) told {
	var elements []*ast.Term
	for i := range d.bodies {
		found, all := s.entries(&d.bodies[i].guard)
		if !all {
			return told{outcome: unknown}
		}
		elements = append(elements, found...)
	}
	if len(elements) == 0 {
		return told{outcome: holds, value: d.empty}
	}
	return told{outcome: holds, value: ast.NewSet(elements...)}
}

func (s *search) complete(d *document) told {
	var value ast.Value
	for i := range d.bodies {
		body := &d.bodies[i]
		base := s.enter(&body.guard)
		found, outcome := s.valueOf(d, body, base)
		s.leave(base)
		if outcome == holds {
			value, outcome = agree(value, found)
		}
		if outcome == unknown {
			return told{outcome: unknown}
		}
	}
	if value == nil {
		value = d.fallback
	}
	if value == nil {
		return told{outcome: fails}
	}
	return told{outcome: holds, value: value}
}

// valueOf is the value of one rule of a document. A rule can hold in several ways. OPA stops at the first one only if all
// rules of the document have the same value. Otherwise it tries the others too, and they may disagree or be errors.
func (s *search) valueOf(d *document, body *definition, base int) (ast.Value, outcome) {
	if d.constant || !body.many {
		outcome := s.run(body.steps, base)
		if outcome != holds {
			return nil, outcome
		}
		return s.value(&body.value, base), holds
	}
	values, all := s.gather(body.gather, base)
	if !all {
		return nil, unknown
	}
	var value ast.Value
	outcome := fails
	for _, found := range values {
		value, outcome = agree(value, found.Value)
		if outcome == unknown {
			return nil, unknown
		}
	}
	return value, outcome
}

// agree is the value of a document that two of its rules give. Two different values are a conflict, which is an error in OPA.
func agree(value, other ast.Value) (ast.Value, outcome) {
	if value == nil {
		return other, holds
	}
	if same(value, other) == holds {
		return value, holds
	}
	return nil, unknown
}

// apply is target = function(operands), a function of the policies.
type apply struct {
	function *document
	operands []operand
	to       target
}

// try calls no function with numbers that are spelt oddly. OPA caches calls: for 1.0 it answers what it found for 1, if that
// was called before.
func (a *apply) try(s *search, base int, rest []step) outcome {
	for i := range a.operands {
		if !a.operands[i].plain && !isPlain(s.value(&a.operands[i], base)) {
			return unknown
		}
	}
	var value ast.Value
	for i := range a.function.bodies {
		found, outcome := a.body(s, base, &a.function.bodies[i])
		if outcome == holds {
			value, outcome = agree(value, found)
		}
		if outcome == unknown {
			return unknown
		}
		if value != nil && a.function.constant {
			break
		}
	}
	if value == nil {
		return fails
	}
	return s.then(&a.to, value, base, rest)
}

func (a *apply) body(s *search, base int, body *definition) (ast.Value, outcome) {
	inner := s.enter(&body.guard)
	defer s.leave(inner)
	for i := range body.arguments {
		met := s.meet(&body.arguments[i], s.value(&a.operands[i], base), inner)
		if met != holds {
			return nil, met
		}
	}
	return s.valueOf(a.function, body, inner)
}
