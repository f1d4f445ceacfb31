package snapshot_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/opatest"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// guarded has helper rules: some that guards understand, and some that they do not.
const guarded = `
known(tier) if tier in [1, 2]

known(null)

known(tier) if {
	is_string(tier)
	not regex.match("^[a-z]", tier)
}

tier := input.request.tier if input.request.tier != null

tier := input.facts.workspace.tier if not input.request.tier

default level := 7

level := input.request.tier if is_number(input.request.tier)

size := "small" if input.request.tier == 1

else := "large" if input.request.tier == 2

state := "two" if input.request.tier in {1, 2}

state := "one" if input.request.tier == 1

lists contains data.lists[input.request.kind]

lists contains input.request.tags

named if {
	some tag in input.request.tags
	tag == input.request.kind
}

sound(names) if {
	is_array(names)
	every name in names {
		is_string(name)
		name != ""
	}
}

shout(kind) := loud if {
	is_string(kind)
	loud := concat("", [lower(kind), "!"])
	kind != "B"
}

shout("c") := "c!"

default greeting(_) := "hello"

greeting(kind) := sprintf("hello %s", [kind]) if is_string(kind)

words := [word |
	some tag in input.request.tags
	is_string(tag)
	word := {"text": tag, "kind": object.get(input.request, "kind", "")}
]

short_words contains word.text if some word in words

short_words contains tag if some tag in data.lists.a

member.of contains 1 if input.request.tier

dotted if member.of[1]
`

// expressions are combined in pairs to make bodies.
var expressions = []string{
	`input.request.tier`, `not input.request.tier`, `input.request.tier == 1`, `1 == input.request.tier`, `input.request.tier != null`,
	`not input.request.tier == 2`, `input.request.tier in {1, "a", null}`, `not input.request.tier in [1, false]`,
	`input.request.tier > 1`, `not input.request.tier <= 1`, `is_string(input.request.tier)`,
	`not is_number(input.request.tier)`, `input.request.tier == input.facts.workspace.tier`, `input.request.tags[_] == "a"`,
	`some tag in input.request.tags; not tag in {"a", "b"}`, `not named`, `named`, `known(input.request.tier)`,
	`not known(input.request.tier)`, `tier == 2`, `not tier`, `x := tier; x != 1`, `level > 5`, `not level == 7`,
	`size == "large"`, `not size`, `some list in lists; not sound(list)`, `some list in lists; some x in list; x == "a"`,
	`sound(input.request.tags)`, `not sound(input.request.tags)`, `"MODEL" in input.facts.secret_keys`,
	`not "MODEL" in input.facts.secret_keys`, `input.facts.secret_keys.MODEL`,
	`data.lists[input.request.kind]`, `not data.lists[input.request.kind]`, `data.lists[input.request.kind][0] == "a"`,
	`data.limit >= input.request.tier`, `data.missing == input.request.tier`, `not data.missing`,
	`not input.facts.exists`, `input.url.valid; input.url.host != ""`, `input.url.port == 443`, `not input.url.userinfo`,
	`input.hook == "register"`, `not input.dry_run`, `input.deployment.saas == false`, `input.caller_proof != "token"`,
	`input.request.tags == ["a"]`, `[x, _] = input.request.tags; x == "a"`, `input.request.tags[1]`, `input.request[input.request.kind]`,
	`every tag in input.request.tags { tag != "b" }`, `count({tag | some tag in input.request.tags; tag != "a"}) == 1`,
	`known(3) with input.request.tier as 3`, `tier == 9 with input.request.tier as 9`,
	`not member.of[1]`, `dotted`, `shout(input.request.kind) == "a!"`, `not shout(input.request.kind)`, `shout("C")`,
	`greeting(input.request.kind) == "hello a"`, `greeting(input.request.tier) == "hello"`, `some word in words; word.text == "a"`,
	`count(words) > 1`, `"b" in short_words`, `not short_words[input.request.kind]`, `count(short_words) == 2`, `short_words == {"a", "b"}`,
	`[tag | some tag in input.request.tags] == ["a"]`, `{tag | some tag in short_words} == data.missing`, `lists`, `not lists`,
	`{"a": [input.request.tier]} == {"a": [2]}`, `count(split("a.b", ".")) == 2`, `some x in split("a.b", "."); x == input.request.kind`,
	`"a" in [tag | some tag in input.request.tags; not tag in {"b"}]`, `net.cidr_contains_matches(["10.0.0.0/8"], "10.1.1.1") != set()`,
	`some match in net.cidr_contains_matches(["10.0.0.0/8"], "10.1.1.1"); contains("ab", "b"); match[1] == "10.1.1.1"`,
	`x := {tag | some tag in input.request.tags}; count(x) > 1`, `object.union({"a": 1}, {"b": 2}).b == input.request.tier`,
	`x := [y | y := input.request.tags[_]]; x[0] == "a"`, `every x in short_words { x != "c" }`,
	`object.get(input.request, "tier", 5) == 5`, `input.facts.workspace == {}`, `walk(input.request.tags, [path, _]); count(path) == 1`,
	`x := input.request.tags[i]; i > 0; x != "a"`, `input.request.tier in data.tiers`, `not input.request.kind in {null, ""}`,
	`true`, `not false`, `input.request.tier == 1 == true`,
}

// requests have members of every type, so that each expression is true, false, undefined or an error in some.
var requests = []string{
	``, `, "tier": 1`, `, "tier": 1.0`, `, "tier": 2, "kind": "a"`, `, "tier": null, "tags": []`, `, "tier": false, "tags": null`,
	`, "tier": "1", "tags": ["a"]`, `, "tier": "a", "tags": ["a", "b"], "kind": "a"`, `, "tier": [1], "tags": ["c", 1, null], "kind": "b"`,
	`, "tier": {"a": 1}, "tags": {"x": "a"}, "kind": "id"`, `, "kind": "", "tags": "a"`, `, "kind": "tier", "tier": 3, "tags": [["a"]]`,
	`, "k\u0069nd": "a", "tier": 1e2`, `, "kind": 5, "tags": [""]`, `, "tier": 1, "tier\u0020": 2, "kind": "c"`,
}

var rows = []string{``, `{"kind": "workspace", "tier": 1}`, `{"tier": 2, "kind": "platform", "url": "x"}`}

// guardedBy makes a rule of each body. The rule's reason is its number.
func guardedBy(bodies []string) snapshot.Source {
	var text strings.Builder
	text.WriteString(opatest.HookPackage + "import data.admission.lib\n\n")
	text.WriteString(opatest.Annotation("SOME_CODE") + "deny contains violation if some violation in lib.first\n")
	var lib strings.Builder
	lib.WriteString("package admission.lib\n\nfirst contains violation if some violation in second\n" + guarded)
	for i, body := range bodies {
		fmt.Fprintf(&lib, "\nsecond contains {\"reason\": \"%d\", \"message\": \"m\"} if {\n\t%s\n}\n", i, strings.ReplaceAll(body, "; ", "\n\t"))
	}
	return opatest.Files(map[string]string{
		"register/some_rule.rego": text.String(), "lib/lib.rego": lib.String(),
		"data.yaml": "lists: {a: [a, b], b: b, c: ['', 1]}\nlimit: 2\ntiers: [1, 4]\n",
	})
}

func eachInput(t *testing.T, visit func(name string, in admission.Input)) {
	t.Helper()
	for _, members := range requests {
		for _, row := range rows {
			text := `{"workspace": {"id": "01890a5d-ac96-774b-bcce-b302099a8057"` + members + `}}`
			visit(members+" on "+row, opatest.Input(t, "register", text, opatest.Facts(t, row, "MODEL")))
		}
	}
}

func TestGuardsDecideAsTheRulesAreWritten(t *testing.T) {
	var bodies []string
	for i, first := range expressions {
		for _, second := range expressions[i+1 : min(i+9, len(expressions))] {
			bodies = append(bodies, first+"; "+renamed(second))
		}
	}
	decided, fired := compare(t, bodies)
	require.Greater(t, decided, 40)
	require.Greater(t, fired, 1000)
}

// A rule with an error would hide what other rules say, so each of these has a module of its own.
func TestGuardsKeepErrorsOfRules(t *testing.T) {
	for _, risky := range []string{
		`count(input.request.tags) > 1`, `floor(input.request.tier) == 1`, `concat("", [".", input.request.kind]) == ".a"`,
		`not regex.match("^a", input.request.kind)`,
		`state == "two"`, `not state`,
	} {
		decided, _ := compare(t, []string{
			risky, "input.request.tier == 1; " + risky, risky + "; input.request.tier == 1", "not input.request.tier; " + risky,
		})
		require.Less(t, decided, len(requests)*len(rows), risky)
		require.Positive(t, decided, risky)
	}
}

func TestGuardsTellWithoutOPA(t *testing.T) {
	in := opatest.Input(t, "register", `{"workspace": {"id": "01890a5d-ac96-774b-bcce-b302099a8057", "tier": 2, "kind": "a", "tags": ["a", "b"]}}`,
		opatest.Facts(t, `{"kind": "workspace", "tier": 2, "url": null}`, "MODEL"))
	for _, body := range []string{
		`input.request.tier == 1`, `not input.request.tier == 2`, `input.request.tier > 2`, `not input.request.tier in {null, 2}`,
		`is_string(input.request.tier)`, `input.facts.workspace.url != null`, `not known(input.request.tier)`, `tier != 2`,
		`not regex.match("^a$", input.request.kind)`, `not "MODEL" in input.facts.secret_keys`, `not data.lists[input.request.kind]`,
		`input.request.tier > data.limit`, `not sound(input.request.tags)`, `some tag in input.request.tags; tag == "c"`, `not named`,
		`concat("", [".", input.request.kind]) == ".b"`, `not input.facts.exists`,
		`some x in data.tiers; x == input.request.tier`, `input.request.missing; walk(input.request.tags, [_, 7])`,
	} {
		snapshot := opatest.Load(t, guardedBy([]string{body}))
		require.True(t, decided(snapshot, in), body)
		require.Empty(t, opatest.Verdict(t, snapshot, in).Violations, body)
	}
	for _, body := range []string{
		`true`, `input.request.tier == 2`, `not input.request.tier == 1`, `some tag in input.request.tags; tag != "c"`, `named`, `tier == 2`,
		`some list in lists; some x in list; x == "a"`, `lists[["a", "b"]]`, `level == 2`, `shout(input.request.kind) == "a!"`, `not shout("B")`,
		`count({tag | some tag in input.request.tags; tag != "a"}) == 1`, `[tag | some tag in lists[_]] == ["a", "b"]`,
		`{"a": [input.request.tier]} == {"a": [2]}`, `count(split(concat(".", input.request.tags), ".")) == 2`,
		`some match in net.cidr_contains_matches(["10.0.0.0/8"], "10.1.1.1"); contains("ab", "b"); match[1] == "10.1.1.1"`,
	} {
		snapshot := opatest.Load(t, guardedBy([]string{body}))
		require.True(t, decided(snapshot, in), body)
		require.Len(t, opatest.Verdict(t, snapshot, in).Violations, 1, body)
	}
	for _, body := range []string{`walk(input.request.tags, [_, "b"])`, `input.request.tier == 2; size`, `count(input.request) == 4`} {
		snapshot := opatest.Load(t, guardedBy([]string{body}))
		require.False(t, decided(snapshot, in), "%s: is the engine's to tell", body)
		require.Len(t, opatest.Verdict(t, snapshot, in).Violations, 1, body)
	}
}

// A search that takes long is left to OPA, which can be cancelled.
func TestGuardsGiveUpOnLongWork(t *testing.T) {
	members := `, "tags": [` + strings.Repeat("1,", 200) + `1]`
	in := opatest.Registering(t, members)
	short := opatest.Load(t, guardedBy([]string{"some tag in input.request.tags; tag == 0"}))
	require.True(t, decided(short, in))
	long := opatest.Load(t, guardedBy([]string{"some tag in input.request.tags; some x in input.request.tags; tag == x; x == 0"}))
	require.False(t, decided(long, in))
	require.Empty(t, opatest.Verdict(t, long, in).Violations)

	text := opatest.Load(t, guardedBy([]string{"some tag in input.request.tags; contains(input.request.kind, tag)"}))
	few := opatest.Registering(t, `, "tags": ["b"], "kind": "`+strings.Repeat("a", 100_000)+`"`)
	require.True(t, decided(text, few))
	many := opatest.Registering(t, `, "tags": ["b"`+strings.Repeat(`, "b"`, 20)+`], "kind": "`+strings.Repeat("a", 100_000)+`"`)
	require.False(t, decided(text, many))
}

// compare decides all inputs by both evaluators. It gives the number of verdicts and the number of violations in them.
func compare(t *testing.T, bodies []string) (decided, fired int) {
	t.Helper()
	snapshot := opatest.LoadUnchecked(t, guardedBy(bodies))
	eachInput(t, func(name string, in admission.Input) {
		want, wantErr := snapshot.EvaluateWatched(t.Context(), in, time.Unix(0, 0))
		got, err := snapshot.Evaluate(t.Context(), in, time.Unix(0, 0))
		require.Equal(t, wantErr == nil, err == nil, "%s: %v, %v", name, wantErr, err)
		require.Equal(t, want, got, name)
		fired += len(want.Violations)
		if wantErr == nil {
			decided++
		}
	})
	return decided, fired
}

func renamed(expression string) string { return variables.ReplaceAllString(expression, "${0}2") }

var variables = regexp.MustCompile(`\b(x|i|tag|list|path)\b`)

// "every" over a value that is no collection is undefined to OPA. The fast path once said true, so a deny that negated it let
// such values pass.
func TestEveryOverScalarIsDeniedAsByOPA(t *testing.T) {
	snapshot := opatest.Load(t, opatest.Files(map[string]string{"register/some_rule.rego": opatest.HookPackage + opatest.Annotation("SOME_CODE") +
		"deny contains violation if {\n\tnot all_of_team\n\t" + opatest.SomeEntry + "\n}\n\n" +
		"all_of_team if every label in input.request.labels { startswith(label, \"team-\") }\n"}))
	for members, denied := range map[string]bool{
		`, "labels": "x"`: true, `, "labels": 1`: true, `, "labels": null`: true, `, "labels": true`: true, ``: true,
		`, "labels": ["x"]`: true, `, "labels": []`: false, `, "labels": {}`: false, `, "labels": ["team-a"]`: false,
	} {
		in := opatest.Registering(t, members)
		require.True(t, decided(snapshot, in), members)
		got := opatest.Verdict(t, snapshot, in)
		require.Equal(t, denied, !got.Allowed(), members)
		want, err := snapshot.Reference().Evaluate(t.Context(), in, time.Unix(0, 0))
		require.NoError(t, err)
		require.Equal(t, want, got, members)
	}
}
