package check

import (
	"maps"

	"github.com/open-policy-agent/opa/v1/ast"
)

// constants are the texts that a variable can be, or the elements of the collection that it is. The zero value is a variable
// of which nothing is known yet.
type constants struct {
	any   bool // it can be anything
	many  bool // texts are elements of a collection
	texts map[string]bool
}

func anything() constants { return constants{any: true} }

// with joins what c can be with what other can be, and says whether that is more than c.
func (c constants) with(other constants) (merged constants, grown bool) {
	switch {
	case c.any:
		return c, false
	case other.any || c.many != other.many && len(c.texts) > 0 && len(other.texts) > 0:
		return anything(), true
	}
	merged = constants{many: c.many || other.many, texts: make(map[string]bool, len(c.texts)+len(other.texts))}
	maps.Copy(merged.texts, c.texts)
	maps.Copy(merged.texts, other.texts)
	return merged, len(merged.texts) > len(c.texts)
}

// constantsOf is what a term can be, by what is known of variables.
func constantsOf(term *ast.Term, known map[ast.Var]constants) constants {
	switch value := term.Value.(type) {
	case ast.String:
		return constants{texts: map[string]bool{string(value): true}}
	case ast.Var:
		if found, isKnown := known[value]; isKnown {
			return found
		}
	case *ast.Array:
		return elementsOf(value)
	case ast.Set:
		return elementsOf(value)
	case ast.Ref: // collection[_]
		if len(value) == 2 {
			if from := constantsOf(value[0], known); from.many {
				return constants{texts: from.texts}
			}
		}
	}
	return anything()
}

type collection interface{ Foreach(each func(*ast.Term)) }

func elementsOf(of collection) constants {
	found := constants{many: true, texts: make(map[string]bool)}
	of.Foreach(func(element *ast.Term) {
		text, isText := element.Value.(ast.String)
		if !isText {
			found = anything()
		}
		if !found.any {
			found.texts[string(text)] = true
		}
	})
	return found
}

// learn notes what an equality says of a variable, for the expressions after it. It looks only at variables that the compiler
// has named: other names can be used twice in a rule.
func learn(left, right *ast.Term, known map[ast.Var]constants) {
	v, isVar := left.Value.(ast.Var)
	if !isVar || !v.IsGenerated() {
		return
	}
	if _, isKnown := known[v]; isKnown {
		return
	}
	if found := constantsOf(right, known); !found.any {
		known[v] = found
	}
}
