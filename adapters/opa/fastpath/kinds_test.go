//go:build !race

package fastpath

import (
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/stretchr/testify/require"
)

// kinds are values of every kind, empty and not, and numbers in several spellings.
var kinds = []string{
	`null`, `true`, `false`, `0`, `1`, `1.0`, `1e0`, `-0`, `100000000000000000000`, `""`, `"a"`, `"0"`, `[]`, `["a", 1]`, `[[1]]`, `{}`,
	`{"a": 1}`, `{"1": "a", "a": null}`, `{1: "a"}`, `set()`, `{"a", 1}`, `{[1], null, false}`,
}

// others are fewer values, for a second member.
var others = []string{`null`, `false`, `1`, `1.0`, `"a"`, `"0"`, `["a", 1]`, `{"a": 1}`, `{"a", 1}`}

// decide compares the rules p of a module with OPA, for inputs whose members x and y are of every kind. It gives the number
// of inputs that the fast path decided.
func decide(t *testing.T, text string, data map[string]any) (told int) {
	t.Helper()
	pair, err := newPair(map[string]string{"p.rego": "package t\n\n" + text}, data, ast.ParserOptions{})
	require.NoError(t, err, text)
	for _, x := range append([]string{""}, kinds...) {
		for _, y := range others {
			members := `"y": ` + y
			if x != "" {
				members += `, "x": ` + x
			}
			input := ast.MustParseTerm("{" + members + "}").Value
			for _, node := range pair.nodes {
				if !node.ref[2].Equal(ast.StringTerm("p")) {
					continue
				}
				known, difference := pair.compare(t.Context(), node, input)
				require.NoError(t, difference, text)
				if known {
					told++
				}
				if node.sets != nil {
					require.NoError(t, pair.compareAssisted(t.Context(), node, input), text)
				}
			}
		}
	}
	return told
}

// "every" over a value that is no collection is undefined to OPA. The fast path once said true, so a rule that negated it
// denied nothing.
func TestEveryOverScalarIsUndefined(t *testing.T) {
	told := decide(t, "p contains 1 if not q\n\nq if every v in input.x { is_string(v) }\n", nil)
	require.Equal(t, (len(kinds)+1)*len(others), told, "for every input")
}

// For values of every kind each step does what OPA does, or leaves them to OPA. The cases with "all" must be decided for
// every kind, so that a later change does not leave them to OPA unseen.
func TestStepsMeetValuesOfEveryKind(t *testing.T) {
	data := map[string]any{
		"list": []any{"a", "b", 1}, "object": map[string]any{"a": "x", "1": "one", "0": nil, "null": "n", "true": "t"},
		"nested": map[string]any{"a": []any{"x"}, "b": "b", "1": map[string]any{"a": 1}}, "scalar": 1, "nothing": nil,
	}
	for name, test := range map[string]struct {
		body string
		all  bool
	}{
		"a value":                       {`input.x`, true},
		"no value":                      {`not input.x`, true},
		"an equality":                   {`input.x == input.y`, false},
		"an equality that is negated":   {`not input.x == input.y`, false},
		"a difference":                  {`input.x != input.y`, true},
		"an order":                      {`input.x < input.y`, true},
		"with constants":                {`input.x == 1; input.y == [1]`, true},
		"with numbers spelt oddly":      {`input.x == 1.0; input.y == [1e0]`, true},
		"with an object":                {`{"a": input.x} == {"a": input.y}`, false},
		"with a set":                    {`{1, "a"} == input.x`, true},
		"into an array":                 {`[_, 1] = input.x`, false},
		"of two iterations":             {`input.x[i] == input.y[i]`, false},
		"of a comprehension":            {`vs := [v | some v in input.x]; vs == input.y`, false},
		"a member":                      {`input.x.a`, true},
		"a member, bound":               {`k := input.y; input.x[k]`, false},
		"a member that is negated":      {`k := input.y; not input.x[k]`, false},
		"a member's member":             {`input.x[0][0]`, true},
		"an element":                    {`input.x[1] == 1`, true},
		"an element by an odd number":   {`input.x[1.0] == 1`, false},
		"an element by a text":          {`input.x["0"]`, true},
		"a composite key":               {`input.x[[1]]`, true},
		"iteration":                     {`some v in input.x; v == input.y`, false},
		"iteration with keys":           {`some k, v in input.x; k == input.y; v != null`, false},
		"iteration of an element":       {`some v in input.x; some w in v; w == 1`, true},
		"membership":                    {`input.x in input.y`, true},
		"membership that is negated":    {`not input.x in input.y`, true},
		"membership of keys":            {`input.x, 1 in input.y`, false},
		"every":                         {`every v in input.x { v != input.y }`, true},
		"every key":                     {`every k, v in input.x { k != input.y; v }`, true},
		"every of every":                {`every v in input.x { every w in v { w == 1 } }`, true},
		"not every":                     {`not q`, true},
		"a count":                       {`count(input.x) == 1`, false},
		"a builtin of texts":            {`startswith(input.x, "a")`, false},
		"a builtin that is negated":     {`not startswith(input.x, "a")`, false},
		"a text made of values":         {`sprintf("%v", [input.x]) == "1"`, false},
		"the spelling of equal numbers": {`f(input.x) == "1"; f(input.y) == "1.0"`, false},
		"a result that holds operands":  {`some m in net.cidr_contains_matches(["10.0.0.0/8"], "10.1.1.1"); contains("ab", "b"); m[1] == "10.1.1.1"`, true},
		"a function":                    {`g(input.x) == input.y`, false},
		"a function that says false":    {`not h(input.x)`, false},
		"a function of a constant":      {`h("a")`, true},
		"data by name":                  {`data.object[input.x] == "one"`, false},
		"data by name, negated":         {`not data.object[input.x]`, false},
		"data by place":                 {`data.list[input.x] == "a"`, false},
		"data by place, negated":        {`not data.list[input.x]`, false},
		"data two down":                 {`data.nested[input.x][input.y]`, false},
		"data two down, negated":        {`not data.nested[input.x][input.y]`, false},
		"data that are a scalar":        {`data.scalar[input.x]`, false},
		"data that are null":            {`not data.nothing[input.x]`, false},
		"data that are not there":       {`not data.missing[input.x]`, true},
		"data by name, and no more":     {`data.object[input.x]`, false},
		"data by a number":              {`data.object[1] == "one"`, false},
		"data by a text for a place":    {`input.x; data.list["0"] == "a"`, false},
		"data iterated":                 {`data.nested[k][_] == input.x; k == input.y`, false},
		"a set of values":               {`s[input.x]`, true},
		"a set of values, negated":      {`not s[input.x]`, true},
		"a default":                     {`d == input.x`, false},
		"values that disagree":          {`v == input.x`, false},
		"values of several ways":        {`w == input.x`, false},
		"a comprehension's members":     {`{v | some v in input.x}[input.y]`, false},
		"a union":                       {`object.union(input.x, input.y).a == 1`, false},
	} {
		t.Run(name, func(t *testing.T) {
			text := "p contains 1 if { " + strings.ReplaceAll(test.body, "; ", "\n\t") + " }\n" + helpers
			told := decide(t, text, data)
			require.Positive(t, told)
			if test.all {
				require.GreaterOrEqual(t, told, (len(kinds)+1)*len(others))
			}
		})
	}
}

// A scalar has no members. The fast path decides that itself.
func TestLookUpsInScalarsAreTold(t *testing.T) {
	pair, err := newPair(map[string]string{"p.rego": "package t\n\np contains 1 if {\n\tk := input.k\n\tnot input.x[k]\n}\n"}, nil, ast.ParserOptions{})
	require.NoError(t, err)
	asked := 0
	for _, scalar := range []string{`null`, `true`, `1`, `"a"`} {
		for _, node := range pair.nodes {
			known, difference := pair.compare(t.Context(), node, ast.MustParseTerm(`{"k": "a", "x": `+scalar+`}`).Value)
			require.NoError(t, difference)
			require.True(t, known, scalar)
			asked++
		}
	}
	require.Positive(t, asked)
}

// A search that takes long is left to OPA, which can be stopped.
func TestSearchGivesUpOnLongWork(t *testing.T) {
	pair, err := newPair(map[string]string{"p.rego": "package t\n\n" +
		"q if {\n\tsome x in input.x\n\tsome y in input.x\n\tx != y\n}\n\n" + // by calls
		"r if {\n\tsome x in input.x\n\tsome y in input.x\n\ty == 2\n}\n"}, nil, ast.ParserOptions{}) // without any
	require.NoError(t, err)
	few, many := ast.NewArray(ast.InternedTerm(1)), ast.NewArray(slices.Repeat([]*ast.Term{ast.InternedTerm(1)}, 200)...)
	for _, node := range pair.nodes {
		if node.sets == nil {
			require.Equal(t, fails, pair.tell(node, ast.NewObject(ast.Item(ast.StringTerm("x"), ast.NewTerm(few)))).outcome)
			require.Equal(t, unknown, pair.tell(node, ast.NewObject(ast.Item(ast.StringTerm("x"), ast.NewTerm(many)))).outcome)
		}
	}
}

const helpers = `
q if every v in input.x { v }

f(x) := sprintf("%v", [x])

g(x) := input.y if x != null

g(null) := 1

h(x) := false if is_string(x)

h([]) := null

s contains input.y

s contains v if some v in input.x

default d := 1

d := input.y if input.x == "a"

v := input.x if input.x

v := input.y if input.y

w := 1 if {
	some e in input.x
	e != 1
}

w := count(e) if some e in input.x
`
