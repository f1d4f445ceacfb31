//go:build !race

package fastpath

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// mutation is a fault put into one place of this package.
type mutation struct{ file, from, to string }

// mutations break each step, and each reason to leave something to OPA.
var mutations = map[string]mutation{
	"every holds over a scalar": {"ops.go",
		"	case *ast.Array, ast.Object, ast.Set:\n	case ast.Null, ast.Boolean, ast.Number, ast.String:\n		return fails\n",
		"	case *ast.Array, ast.Object, ast.Set:\n	case ast.Null, ast.Boolean, ast.Number, ast.String:\n		return s.run(rest, base)\n"},
	"every needs no element to hold": {"ops.go", "	case holds:\n		return fails\n	default:\n		return unknown\n	}\n}\n\n// keep",
		"	case holds:\n		return s.run(rest, base)\n	default:\n		return unknown\n	}\n}\n\n// keep"},
	"every binds no key":              {"compile.go", "s.slots[terms.Key.Value.(ast.Var)] = key", "s.slots[terms.Key.Value.(ast.Var)] = value"},
	"every's body is not negated":     {"compile.go", "[]step{&negation{s.steps(terms.Body)}}", "s.steps(terms.Body)"},
	"an equality holds":               {"ops.go", "return s.then(&r.to, s.value(&r.from, base), base, rest)", "return s.run(rest, base)"},
	"a missing member is unequal":     {"ops.go", "	case value == nil:\n		return fails\n	}\n	return s.then(&r.to", "	case value == nil:\n		return s.run(rest, base)\n	}\n	return s.then(&r.to"},
	"what is unknown is not there":    {"ops.go", "	case err != nil:\n		return unknown\n	case value == nil:", "	case err != nil:\n		return fails\n	case value == nil:"},
	"a lookup finds unknowns":         {"ops.go", "	if found != holds {\n		return found\n	}\n	return s.then(&l.to", "	if found != holds {\n		return fails\n	}\n	return s.then(&l.to"},
	"a set has every member":          {"ops.go", "return key, when(of.Contains(ast.NewTerm(key)))", "return key, holds"},
	"an object has no members":        {"ops.go", "	case ast.Object:\n		return termAt(of.Get(ast.NewTerm(key)))", "	case ast.Object:\n		return nil, fails"},
	"a scalar is left to OPA":         {"ops.go", "		return nil, fails\n	default:\n		return nil, unknown\n	}\n}\n\nfunc termAt", "		return nil, unknown\n	default:\n		return nil, unknown\n	}\n}\n\nfunc termAt"},
	"a scalar has members":            {"ops.go", "		return nil, fails\n	default:\n		return nil, unknown\n	}\n}\n\nfunc termAt", "		return collection, holds\n	default:\n		return nil, unknown\n	}\n}\n\nfunc termAt"},
	"bare data are of any name":       {"ops.go", "	if l.stored && l.to.isBare() && isNumberOf(collection, key) {\n		return unknown\n	}\n", ""},
	"data have no texts for places":   {"ops.go", "isArray {\n			return nil, unknown", "isArray {\n			return nil, fails"},
	"data have no numbers for names":  {"ops.go", "			key = ast.String(name)\n", "			return nil, when(name == \"\")\n"},
	"data are looked up like values":  {"ops.go", "		of = storedMember\n", "		of = member\n"},
	"data end at the first name":      {"ops.go", "		data = below\n", "		return below, holds\n"},
	"data that are missing hold":      {"compile.go", "		return []step{never}\n", "		return nil\n"},
	"iteration ends early":            {"ops.go", "range collection.Len()", "range min(collection.Len(), 1)"},
	"iteration has no indices":        {"ops.go", "ast.InternedTerm(i), collection.Elem(i)", "collection.Elem(i), collection.Elem(i)"},
	"iteration of sets ends early":    {"ops.go", "range collection.Slice() {\n			result", "range collection.Slice()[:min(1, collection.Len())] {\n			result"},
	"iteration of objects ends":       {"ops.go", "		return result != fails\n	})\n	return result", "		return true\n	})\n	return result"},
	"iteration of objects is of keys": {"ops.go", "result = it.member(s, base, rest, key, value)", "result = it.member(s, base, rest, key, key)"},
	"iteration of a scalar holds":     {"ops.go", "	case ast.Null, ast.Boolean, ast.Number, ast.String:\n		return fails\n	default:\n		return unknown\n	}\n	return fails\n", "	case ast.Null, ast.Boolean, ast.Number, ast.String:\n		return s.run(rest, base)\n	default:\n		return unknown\n	}\n	return fails\n"},
	"iteration forgets the key":       {"ops.go", "	s.stack[base+it.key] = key.Value\n", "	_ = key\n"},
	"an error is nothing":             {"ops.go", "		return unknown // OPA makes an error of the evaluation of it\n", "		return fails\n"},
	"a call's result is changed":      {"ops.go", "		s.renewOperands(len(c.operands))\n", ""},
	"not holds":                       {"ops.go", "	switch s.run(n.steps, base) {\n	case holds:\n		return fails\n", "	switch s.run(n.steps, base) {\n	case holds:\n		return s.run(rest, base)\n"},
	"not of an unknown holds":         {"ops.go", "	case fails:\n		return s.run(rest, base)\n	default:\n		return unknown\n	}\n}\n\n// opaque", "	case fails:\n		return s.run(rest, base)\n	default:\n		return s.run(rest, base)\n	}\n}\n\n// opaque"},
	"the opaque fails":                {"ops.go", "func (opaque) try(*search, int, []step) outcome { return unknown }", "func (opaque) try(*search, int, []step) outcome { return fails }"},
	"one entry is kept":               {"ops.go", "	s.kept = append(s.kept, ast.NewTerm(s.value(&k.value, base)))\n	return fails\n", "	s.kept = append(s.kept, ast.NewTerm(s.value(&k.value, base)))\n	return holds\n"},
	"a comprehension is a part":       {"ops.go", "	values, all := s.gather(c.gather, base)\n	if !all {\n		return unknown\n	}\n", "	values, _ := s.gather(c.gather, base)\n"},
	"a comprehension is no set":       {"ops.go", "	if c.set {\n", "	if false {\n"},
	"a comprehension has an index":    {"compile.go", "	if s.compiler.ComprehensionIndex(whole) != nil {\n		return []step{opaque{}}\n	}\n", ""},
	"a document is not there":         {"documents.go", "	case known.outcome != holds:\n		return known.outcome\n", "	case known.outcome != holds:\n		return fails\n"},
	"a set's document is a part":      {"documents.go", "		if !all {\n			return told{outcome: unknown}\n		}\n		elements", "		if !all {\n			continue\n		}\n		elements"},
	"a default is not taken":          {"documents.go", "	if value == nil {\n		value = d.fallback\n	}\n", ""},
	"a default is always taken":       {"documents.go", "	if value == nil {\n		value = d.fallback\n	}\n", "	value = d.fallback\n"},
	"the first way is enough":         {"documents.go", "	if d.constant || !body.many {\n", "	if true {\n"},
	"ways that are unknown fail":      {"documents.go", "	values, all := s.gather(body.gather, base)\n	if !all {\n		return nil, unknown\n	}\n", "	values, _ := s.gather(body.gather, base)\n"},
	"values may disagree":             {"documents.go", "	if same(value, other) == holds {\n		return value, holds\n	}\n	return nil, unknown\n", "	return value, holds\n"},
	"a function's first body":         {"documents.go", "		if value != nil && a.function.constant {\n", "		if value != nil {\n"},
	"functions take any spelling":     {"documents.go", "		if !a.operands[i].plain && !isPlain(s.value(&a.operands[i], base)) {\n			return unknown\n		}\n", "		_ = i\n"},
	"what was known stays known":      {"solver.go", "	s.resolver, s.result, s.kept = nil, nil, nil\n	clear(s.known)\n", "	s.resolver, s.result, s.kept = nil, nil, nil\n"},
	"an index is a text":              {"ops.go", "	case *ast.Array:\n		return termAt(of.Get(ast.NewTerm(key)))", "	case *ast.Array:\n		return termAt(of.Get(ast.InternedTerm(0)))"},
	"arguments are not looked at":     {"documents.go", "		if met != holds {\n			return nil, met\n		}\n", "		_ = met\n"},
	"else is not seen":                {"documents.go", "rule.Default || rule.Else != nil || ", "rule.Default || "},
	"a dotted name is a name":         {"documents.go", "len(rule.Head.Ref()) != 1 || ", ""},
	"a function's default is a body":  {"documents.go", "	if rule.Default || ", "	if "},
	"with is not seen":                {"compile.go", "	if len(expr.With) > 0 {\n		return []step{opaque{}}\n	}\n", ""},
	"not is not seen":                 {"compile.go", "	if expr.Negated {\n", "	if false {\n"},
	"two iterations are one":          {"compile.go", "return target{compare: true, operand: slot}, true", "return target{}, true"},
	"a nested reference is constant":  {"compile.go", "term.IsGround() && i > 0", "term.IsGround() && i > 9"},
	"a bound variable is free":        {"compile.go", "	return isVar && !bound\n", "	return isVar || bound\n"},
	"equal hashes are needed":         {"values.go", "	case ast.IsScalar(a) || ast.IsScalar(b), isPlain(a) && isPlain(b):\n		return fails\n	default:\n		return unknown\n", "	default:\n		return fails\n"},
	"all is equal":                    {"values.go", "	case ast.ValueEqual(a, b):\n", "	case true:\n"},
	"exponents are plain":             {"values.go", `text == "-0" || strings.ContainsAny(text, "eE")`, `text == "-0"`},
	"fractions are plain":             {"values.go", `!strings.HasSuffix(text, "0") && !strings.HasSuffix(text, ".")`, `true`},
	"false holds":                     {"solver.go", "		return when(value != ast.Boolean(false))\n", "		return holds\n"},
	"null does not hold":              {"solver.go", "		return when(value != ast.Boolean(false))\n", "		return when(value != ast.Boolean(false) && value != ast.Value(ast.Null{}))\n"},
	"nothing is compared":             {"solver.go", "		return same(s.value(&t.operand, base), value)\n", "		return holds\n"},
	"nothing is bound":                {"solver.go", "		s.stack[base+t.operand.slot] = value\n", ""},
	"bodies share their variables":    {"solver.go", "	s.top += g.slots\n", ""},
	"work is endless":                 {"solver.go", "	if s.left < 0 {\n		return unknown\n	}\n	return steps[0]", "	return steps[0]"},
	"excluded rules hold":             {"solver.go", "	return s.run(g.steps, base) == fails\n", "	return s.run(g.steps, base) != holds\n"},
	"an unknown rule has no entries":  {"index.go", "		if !told && !ask(rule) {\n			return nil, false\n		}\n", ""},
	"a view has no data":              {"view.go", "		return resolveStored(v.data, ref[1:])\n", "		return nil, nil\n"},
	"a view knows all members":        {"view.go", "	if !isText || !known {\n		return nil, ast.UnknownValueErr{}\n	}\n", "	if !isText || !known {\n		return nil, nil\n	}\n"},
	"a view's flags are swapped":      {"view.go", "ast.Boolean(v.in.DryRun)", "ast.Boolean(!v.in.DryRun)"},
}

// sampled are the mutations that "make test" tries; "make soak" tries all.
var sampled = []string{"every holds over a scalar", "data have no numbers for names"}

// For every fault that is put into this package one of the tests in proofs fails. A fault that is not found shows a step that
// no test covers. "make test" tries two, "make check" one, "make soak" all: GATEHOUSE_SOAK=1 go test -run Mutations .
func TestMutationsAreFound(t *testing.T) {
	for name, one := range mutations {
		text, err := os.ReadFile(one.file)
		require.NoError(t, err)
		require.Equal(t, 1, strings.Count(string(text), one.from), "%s: %s has the text to change once", name, one.file)
	}
	chosen := sampled
	if os.Getenv("QUICK_TESTS") != "" {
		chosen = sampled[:1]
	}
	if os.Getenv("GATEHOUSE_SOAK") != "" {
		chosen = nil
		for name := range mutations {
			chosen = append(chosen, name)
		}
	}
	for _, name := range chosen {
		t.Run(name, func(t *testing.T) { mutations[name].mustBeFound(t) })
	}
}

// proofs are the tests that must find a fault, the quickest first.
var proofs = []string{"^(TestEvery|TestSteps|TestLookUps|TestView|TestSearch|FuzzFastPath)", "^TestConformance", "^TestRandom"}

// mustBeFound builds the tests of this package with the fault in it. The files on disk are not changed.
func (m mutation) mustBeFound(t *testing.T) {
	t.Helper()
	folder := t.TempDir()
	text, err := os.ReadFile(m.file)
	require.NoError(t, err)
	changed := filepath.Join(folder, m.file)
	require.NoError(t, os.WriteFile(changed, []byte(strings.Replace(string(text), m.from, m.to, 1)), 0o600))
	here, err := filepath.Abs(m.file)
	require.NoError(t, err)
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{here: changed}})
	require.NoError(t, err)
	described := filepath.Join(folder, "overlay.json")
	require.NoError(t, os.WriteFile(described, overlay, 0o600))
	binary := filepath.Join(folder, "proofs")
	out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-overlay", described, "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	for _, proof := range proofs {
		if !passes(t.Context(), binary, proof) {
			return
		}
	}
	t.Fatal("nothing fails: a step that no test proves")
}

func passes(ctx context.Context, binary, tests string) bool {
	return exec.CommandContext(ctx, binary, "-test.failfast", "-test.timeout", "3m", "-test.run", tests).Run() == nil
}
