package fastpath

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// policyGen writes random policies with everything that the fast path claims to understand, and with things that it nearly
// understands. Most of these policies compile.
type policyGen struct {
	t         *rapid.T
	names     int
	vars      []string // that are bound here
	documents []string // rules to refer to
	functions []string // of one argument
	wildless  bool
}

func (g *policyGen) pick(from ...string) string { return rapid.SampledFrom(from).Draw(g.t, "pick") }

func (g *policyGen) upTo(most int) int { return rapid.IntRange(0, most).Draw(g.t, "n") }

// one runs one of the choices. A choice that is listed twice is twice as likely.
func (g *policyGen) one(choices ...func() string) string {
	return choices[rapid.IntRange(0, len(choices)-1).Draw(g.t, "choice")]()
}

func (g *policyGen) fresh() string {
	g.names++
	return fmt.Sprintf("v%d", g.names)
}

// scoped forgets the variables that were bound inside.
func (g *policyGen) scoped(write func() string) string {
	outside := slices.Clone(g.vars)
	defer func() { g.vars = outside }()
	return write()
}

// policy is a module t. Rules refer only to rules above them, since Rego has no recursion.
func (g *policyGen) policy() string {
	var text strings.Builder
	text.WriteString("package t\n")
	for i := range 1 + g.upTo(4) {
		name := fmt.Sprintf("r%d", i)
		write := []func(string) string{g.complete, g.complete, g.set, g.set, g.function, g.function, g.object}
		text.WriteString("\n" + write[g.upTo(len(write)-1)](name))
	}
	for range 1 + g.upTo(2) {
		text.WriteString("\n" + g.scoped(func() string {
			body := g.body(3)
			return fmt.Sprintf("p contains %s if {\n%s}\n", g.term(1), body)
		}))
	}
	return text.String()
}

func (g *policyGen) complete(name string) string {
	var text strings.Builder
	if g.upTo(3) == 0 {
		fmt.Fprintf(&text, "default %s := %s\n\n", name, g.constant(1))
	}
	for range 1 + g.upTo(2) {
		text.WriteString(g.scoped(func() string {
			body := g.body(3)
			value := g.one(func() string { return "true" }, func() string { return g.constant(1) }, func() string { return g.term(1) })
			rule := fmt.Sprintf("%s := %s if {\n%s}", name, value, body)
			if g.upTo(7) == 0 {
				rule += fmt.Sprintf(" else := %s if {\n%s}", g.constant(0), g.scoped(func() string { return g.body(1) }))
			}
			return rule + "\n\n"
		}))
	}
	g.documents = append(g.documents, name)
	return text.String()
}

func (g *policyGen) set(name string) string {
	var text strings.Builder
	for range 1 + g.upTo(1) {
		text.WriteString(g.scoped(func() string {
			body := g.body(2)
			return fmt.Sprintf("%s contains %s if {\n%s}\n\n", name, g.term(1), body)
		}))
	}
	g.documents = append(g.documents, name)
	return text.String()
}

func (g *policyGen) object(name string) string {
	text := g.scoped(func() string {
		body := g.body(2)
		return fmt.Sprintf("%s[%s] := %s if {\n%s}\n\n", name, g.atom(), g.atom(), body)
	})
	g.documents = append(g.documents, name)
	return text
}

func (g *policyGen) function(name string) string {
	var text strings.Builder
	if g.upTo(4) == 0 {
		fmt.Fprintf(&text, "default %s(_) := %s\n\n", name, g.constant(0))
	}
	for range 1 + g.upTo(2) {
		text.WriteString(g.scoped(func() string {
			argument := g.one(g.fresh, g.fresh, g.fresh, func() string { return g.constant(1) }, func() string { return "[" + g.fresh() + ", _]" })
			if strings.HasPrefix(argument, "v") {
				g.vars = append(g.vars, argument)
			}
			body := g.body(2)
			value := g.one(func() string { return "true" }, func() string { return g.constant(0) }, func() string { return g.term(1) })
			return fmt.Sprintf("%s(%s) := %s if {\n%s}\n\n", name, argument, value, body)
		}))
	}
	g.functions = append(g.functions, name)
	return text.String()
}

// body is of at least one expression.
func (g *policyGen) body(most int) string {
	var text strings.Builder
	for range 1 + g.upTo(most-1) {
		text.WriteString("\t" + g.expression(2) + "\n")
	}
	return text.String()
}

func (g *policyGen) expression(depth int) string {
	return g.one(
		func() string { return g.term(1) },
		g.negation, g.negation,
		g.condition, g.condition, g.condition,
		func() string { return g.bind("A := ", g.term(1), "") },
		func() string { return g.bind("A := ", g.term(1), "") },
		func() string { return g.bind("some A in ", g.collection(), g.use("A")) },
		func() string { return g.bind("some A in ", g.collection(), g.use("A")) },
		func() string { return g.bind("some A, B in ", g.collection(), g.use("A")+g.use("B")) },
		func() string { return g.bind("[A, B] = ", g.place(), "") },
		func() string { return g.bind("A = ", g.place(), "[B]") },
		func() string { return g.bind("", g.place(), "[A] == "+g.place()+"[A]") },
		func() string { return g.every(depth) },
		func() string { return g.condition() + " with input." + g.pick("a", "b") + " as " + g.constant(1) },
	)
}

// negation has no wildcards: they would not be safe there.
func (g *policyGen) negation() string {
	return g.scoped(func() string {
		outside := g.wildless
		g.wildless = true
		defer func() { g.wildless = outside }()
		return "not " + g.condition()
	})
}

// bind writes an expression in which A and B are fresh variables, bound from there on.
func (g *policyGen) bind(before, term, after string) string {
	for _, letter := range []string{"A", "B"} {
		if strings.Contains(before+after, letter) {
			name := g.fresh()
			g.vars = append(g.vars, name)
			before, after = strings.ReplaceAll(before, letter, name), strings.ReplaceAll(after, letter, name)
		}
	}
	return before + term + after
}

// use mentions a variable: Rego refuses variables that are declared and not used.
func (g *policyGen) use(name string) string {
	return "\n\t" + name + g.pick(" != ", " != ", " == ") + g.one(g.atom, g.scalar, func() string { return name })
}

func (g *policyGen) every(depth int) string {
	domain := g.collection()
	return g.scoped(func() string {
		text := g.one(
			func() string { return g.bind("every A in ", domain, " {"+g.use("A")) },
			func() string { return g.bind("every A, B in ", domain, " {"+g.use("A")+g.use("B")) },
		)
		for range g.upTo(depth) {
			text += "\n\t" + g.expression(depth-1)
		}
		return text + "\n\t}"
	})
}

func (g *policyGen) condition() string {
	return g.one(
		func() string { return g.atom() + g.pick(" == ", " == ", " = ", " != ", " < ", " >= ") + g.term(1) },
		func() string { return g.atom() + " in " + g.collection() },
		func() string { return g.atom() + ", " + g.atom() + " in " + g.collection() },
		g.place, g.place, g.document,
		func() string { return g.document() + "[" + g.atom() + "]" },
		g.call,
	)
}

// term is a value of any sort.
func (g *policyGen) term(depth int) string {
	if depth == 0 {
		return g.atom()
	}
	return g.one(g.atom, g.atom, g.atom, g.call, g.document,
		func() string { return "[" + g.atom() + ", " + g.term(depth-1) + "]" },
		func() string { return `{"a": ` + g.term(depth-1) + "}" },
		func() string { return "{" + g.atom() + "}" },
		func() string { return g.comprehension() },
	)
}

func (g *policyGen) comprehension() string {
	return g.scoped(func() string {
		body := g.bind("some A in ", g.collection(), "; A != "+g.scalar())
		element := g.vars[len(g.vars)-1]
		if g.upTo(1) == 0 {
			body += "; " + g.condition()
		}
		term := g.one(func() string { return element }, g.atom, func() string { return "[" + element + ", " + g.atom() + "]" })
		return g.one(
			func() string { return "[" + term + " | " + body + "]" },
			func() string { return "{" + term + " | " + body + "}" },
			func() string { return "{" + element + ": " + term + " | " + body + "}" },
			func() string { return "{[w | some w in " + g.collection() + "; w != " + term + "] | " + body + "}" },
		)
	})
}

func (g *policyGen) call() string {
	if len(g.functions) > 0 && g.upTo(1) == 0 {
		return g.pick(g.functions...) + "(" + g.term(0) + ")"
	}
	return g.one(
		func() string {
			return g.pick("is_string", "is_number", "is_array", "is_object", "is_set", "is_null", "is_boolean") + "(" + g.atom() + ")"
		},
		func() string { return "count(" + g.collection() + ")" },
		func() string {
			return g.pick("lower", "upper", "trim_space", "floor", "to_number") + "(" + g.atom() + ")"
		},
		func() string {
			return g.pick("startswith", "endswith", "contains", "split", "trim", "trim_prefix") + "(" + g.atom() + ", " + g.atom() + ")"
		},
		func() string { return `sprintf("%v %d", [` + g.atom() + ", " + g.atom() + "])" },
		func() string { return "concat(" + g.atom() + ", " + g.collection() + ")" },
		func() string { return "object.union(" + g.place() + ", " + g.place() + ")" },
		func() string { return `object.get(input, "a", ` + g.atom() + ")" },
		func() string { return g.atom() + " + 1" },
	)
}

// collection is a collection in most cases.
func (g *policyGen) collection() string {
	return g.one(g.place, g.place, g.place, g.document, g.atom, func() string { return "{" + g.scalar() + ", " + g.scalar() + "}" })
}

func (g *policyGen) document() string {
	if len(g.documents) == 0 {
		return g.place()
	}
	return g.pick(g.documents...)
}

func (g *policyGen) atom() string {
	if len(g.vars) > 0 && g.upTo(2) > 0 {
		return g.pick(g.vars...)
	}
	return g.one(g.scalar, g.place)
}

// place is a part of the input, of the data or of a variable.
func (g *policyGen) place() string {
	place := g.pick("input.a", "input.a", "input.b", "input.c", "data.d", "data.l", "data.s", "data.none", "input")
	if len(g.vars) > 0 && g.upTo(3) == 0 {
		place = g.pick(g.vars...)
	}
	for range g.upTo(2) {
		place += g.one(
			func() string {
				return g.pick(".a", ".b", `["0"]`, `["1"]`, "[0]", "[1]", "[1.0]", "[null]", "[true]", `[["a"]]`)
			},
			func() string { return g.pick(".a", ".b", "[0]") },
			func() string {
				if g.wildless {
					return ".b"
				}
				return "[_]"
			},
			func() string {
				if len(g.vars) == 0 {
					return "[input.c]"
				}
				return "[" + g.pick(g.vars...) + "]"
			},
		)
	}
	return place
}

func (g *policyGen) scalar() string { return g.pick(scalars...) }

// scalar gives one of few values, so that equal ones meet. Numbers are spelt in several ways.
var scalars = []string{`null`, `true`, `false`, `0`, `1`, `1`, `2`, `1.0`, `1e0`, `-0`, `100000000000000000000`, `1e400`, `10e399`, `0.5`, `""`, `"a"`, `"b"`, `"0"`, `"1"`, `"a b"`}

func (g *policyGen) constant(depth int) string {
	if depth == 0 {
		return g.scalar()
	}
	below := func() string { return g.constant(depth - 1) }
	return g.one(g.scalar, g.scalar,
		func() string { return "[" + strings.Join([]string{below(), below()}[:g.upTo(2)], ", ") + "]" },
		func() string {
			return g.pick(`{}`, `{"a": `+below()+`}`, `{"a": `+below()+`, "b": `+below()+`}`, `{"1": `+below()+`, "0": 1}`)
		},
		func() string { return g.pick("set()", "{"+below()+"}", "{"+below()+", "+below()+"}") },
		func() string { return g.pick(`{` + g.scalar() + `: ` + below() + `}`) },
	)
}

// input is an object. Members may be missing.
func (g *policyGen) input() string {
	var members []string
	for _, name := range []string{"a", "b", "c"} {
		if g.upTo(5) > 0 {
			members = append(members, fmt.Sprintf("%q: %s", name, g.constant(2)))
		}
	}
	return "{" + strings.Join(members, ", ") + "}"
}

// randomData are what a folder's data may be.
func randomData() map[string]any {
	return map[string]any{
		"d": map[string]any{"a": []any{"a", 1}, "b": "a", "1": map[string]any{"a": 1}, "0": nil},
		"l": []any{"a", map[string]any{"a": 1}, []any{1, "1"}},
		"s": "a",
	}
}
