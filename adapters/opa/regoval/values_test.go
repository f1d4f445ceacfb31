package regoval_test

import (
	"bytes"
	"strings"
	"testing"

	stdjson "encoding/json"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/molecule-ai/gatehouse/adapters/opa/regoval"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
)

// anyJSON draws the text of a JSON value, up to this many levels deep.
func anyJSON(depth int) *rapid.Generator[string] {
	text := rapid.Custom(func(t *rapid.T) string { return quote(t, rapid.String().Draw(t, "text")) })
	number := rapid.OneOf(
		rapid.SampledFrom([]string{"0", "-0", "1", "-1", "1.0", "0.10", "1e2", "1E+2", "12345678901234567890", "-9007199254740993",
			"0.1000000000000000055511151231257827", "1e308", "5e-324", "123456789012345678901234567890.5", "100", "101", "512", "0e5"}),
		rapid.StringMatching(`-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,2})?`),
	)
	scalar := rapid.OneOf(rapid.SampledFrom([]string{"null", "true", "false", `""`, `"\ud83d\ude00"`, `"\u0061\/\\"`}), text, number)
	if depth == 0 {
		return scalar
	}
	below := anyJSON(depth - 1)
	return rapid.OneOf(scalar,
		rapid.Custom(func(t *rapid.T) string {
			return "[" + strings.Join(rapid.SliceOfN(below, 0, 4).Draw(t, "elements"), ", ") + "]"
		}),
		rapid.Custom(func(t *rapid.T) string { return anyObject(t, below) }),
	)
}

func anyObject(t *rapid.T, member *rapid.Generator[string]) string {
	keys := rapid.SliceOfNDistinct(rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"id", "kind", "url", "a"})), 0, 12, rapid.ID[string]).Draw(t, "names")
	members := make([]string, len(keys))
	for i, key := range keys {
		members[i] = quote(t, key) + ":" + member.Draw(t, "member")
	}
	return "{" + strings.Join(members, ",") + "}"
}

func quote(t *rapid.T, text string) string {
	quoted, err := stdjson.Marshal(text)
	require.NoError(t, err)
	return string(quoted)
}

func TestInputEqualsOPAsReadingOfItsJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfN(rapid.SampledFrom([]string{"MODEL", "model", "", "é", "A"}), 0, 4)
		row := anyObject(t, anyJSON(2))
		exists := rapid.Bool().Draw(t, "exists")
		found, err := admission.NewFacts(false, nil, keys.Draw(t, "secrets"), keys.Draw(t, "global secrets"))
		require.NoError(t, err)
		found.Exists, found.Workspace = exists, []byte(row)
		in := admission.Input{
			Hook: rapid.SampledFrom([]string{"register", "heartbeat", ""}).Draw(t, "hook"), DryRun: rapid.Bool().Draw(t, "dry run"),
			CallerProof: rapid.SampledFrom([]admission.CallerProof{admission.Token, admission.Bootstrap, admission.Install}).Draw(t, "proof"),
			Request:     []byte(anyObject(t, anyJSON(3))), Facts: found,
			URL:        decode.ParseURL(rapid.SampledFrom([]string{"", "https://me@agent.example.com:8443", "http://[::1]", "http://127.1"}).Draw(t, "url")),
			Deployment: admission.Deployment{SaaS: rapid.Bool().Draw(t, "saas")},
		}
		got, err := regoval.Input(in)
		require.NoError(t, err)

		document, err := in.JSON()
		require.NoError(t, err)
		want, err := ast.ValueFromReader(bytes.NewReader(document))
		require.NoError(t, err)
		want = withSets(t, want)
		require.Zero(t, want.Compare(got), "%s\n%s", want, got)
		require.Equal(t, want.String(), got.String(), "and every number has the same digits")
		require.Equal(t, want.Hash(), got.Hash())
	})
}

// withSets turns the lists of keys into the sets that policies look keys up in.
func withSets(t require.TestingT, input ast.Value) ast.Value {
	changed, err := ast.TransformRefs(input, func(ref ast.Ref) (ast.Value, error) { return ref, nil })
	require.NoError(t, err)
	return mapMember(t, changed.(ast.Value), "facts", func(facts ast.Value) ast.Value {
		for _, name := range []string{"secret_keys", "global_secret_keys"} {
			facts = mapMember(t, facts, name, func(keys ast.Value) ast.Value {
				set := ast.NewSet()
				keys.(*ast.Array).Foreach(set.Add)
				return set
			})
		}
		return facts
	})
}

func mapMember(t require.TestingT, object ast.Value, name string, change func(ast.Value) ast.Value) ast.Value {
	mapped, err := object.(ast.Object).Map(func(key, value *ast.Term) (*ast.Term, *ast.Term, error) {
		if key.Equal(ast.StringTerm(name)) {
			value = ast.NewTerm(change(value.Value))
		}
		return key, value, nil
	})
	require.NoError(t, err)
	return mapped
}
