package check_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/molecule-ai/gatehouse/adapters/opa/opatest"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/policies"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// library has functions and rules through which a body can read indirectly.
const library = `
given(member) if not input.request[member] in {null, ""}
stored(member) := input.facts.workspace[member]
effective(member) := input.request[member] if given(member) else := stored(member)
spend := input.facts.workspace.monthly_spend
default limit := 7
limit := input.facts.workspace.budget_limit
nested := {"kind": input.request.kind, "deep": {"url": input.request.url}}
same(x) := x
`

func TestReadsAreWhatRulesSayOfTheInput(t *testing.T) {
	for body, want := range map[string]string{
		`true`:                    "",
		`input.request.kind == 1`: "/input/request/kind",
		`not input.request.kind`:  "/input/request/kind",
		`input.request.kind.x == input.request.kind`:                 "/input/request/kind",
		`input["request"]["a/b c"]`:                                  "/input/request/a%2Fb%20c",
		`input.request.tags[0] == 1`:                                 "/input/request/tags",
		`input.request.tags[_] == 1`:                                 "/input/request/tags",
		`input.request[input.hook]`:                                  "/input/hook /input/request",
		`"MODEL" in input.facts.secret_keys`:                         "/input/facts/secret_keys",
		`input.facts.secret_keys["MODEL"]`:                           "/input/facts/secret_keys",
		`input.facts.secret_keys.MODEL`:                              "/input/facts/secret_keys",
		`x := input.request; x.kind == 1`:                            "/input/request",
		`x := input; x.hook == "a"`:                                  "/input",
		`some k; input[k]`:                                           "/input",
		`count(input) > 1`:                                           "/input",
		`every x in input.request.tags { x > input.request.least }`:  "/input/request/least /input/request/tags",
		`count([x | x := input.request.tags[_]]) > 1`:                "/input/request/tags",
		`walk(input.request.card, [_, 1])`:                           "/input/request/card",
		`object.get(input.request, ["a", "b"], 1) == 1`:              "/input/request",
		`given("name")`:                                              "/input/request/name",
		`some m in ["name", "role"]; given(m)`:                       "/input/request/name /input/request/role",
		`some m in {"name", "role"}; given(m)`:                       "/input/request/name /input/request/role",
		`some m in ["name", 1]; given(m)`:                            "/input/request",
		`some m in data.members; given(m)`:                           "/input/request",
		`some m in input.request.members; given(m)`:                  "/input/request",
		`some m; given("x"); input.request[m]; m in ["a"]`:           "/input/request",
		`not given("name"); effective("kind") == 1`:                  "/input/facts/workspace/kind /input/request/kind /input/request/name",
		`m := same("name"); given(m)`:                                "/input/request",
		`spend > limit`:                                              "/input/facts/workspace/budget_limit /input/facts/workspace/monthly_spend",
		`nested.deep.url == "u"`:                                     "/input/request/kind /input/request/url",
		`given("name") with input as {"request": {"name": 1}}`:       "/input",
		`given("name") with input.request as input.facts.workspace`:  "/input/facts/workspace /input/request",
		`effective("tier") with given as same`:                       "/input/facts/workspace/tier /input/request",
		`sprintf("%v", [input.url.host]) == "h"`:                     "/input/url/host",
		`$"host {input.url.host}" == "h"`:                            "/input/url/host",
		`{"a": input.request.a, "b": [input.request.b]} == same(1)`:  "/input/request/a /input/request/b",
		`input.request.kind == "a"; input.facts.workspace.kind == 1`: "/input/facts/workspace/kind /input/request/kind",
	} {
		t.Run(body, func(t *testing.T) {
			got := opatest.LoadUnchecked(t, opatest.Module(opatest.Deny(body+"\n"+opatest.SomeEntry)+library)).ReadPointers("register")
			require.Equal(t, strings.Fields(want), append([]string{}, got...))
		})
	}
}

func TestReadsAreOfOneHook(t *testing.T) {
	snapshot := opatest.Load(t, opatest.Files(map[string]string{
		"a.rego": "package admission.register\n\n" + opatest.Annotation("A") + "deny contains {\"reason\": \"r\", \"message\": \"m\"} if input.request.kind == 1\n",
		"b.rego": "package admission.heartbeat\n\n" + opatest.Annotation("B") + "deny contains {\"reason\": \"r\", \"message\": \"m\"} if input.request.url.x == 1\n",
	}))
	require.True(t, snapshot.Reads("register", "/input/request/kind"))
	require.True(t, snapshot.Reads("register", "/input/request/kind/below"))
	require.True(t, snapshot.Reads("register", "/input/request"))
	require.True(t, snapshot.Reads("register", admission.InputPointer))
	require.False(t, snapshot.Reads("register", "/input/request/url"))
	require.False(t, snapshot.Reads("register", "/input/request/kin"))
	require.False(t, snapshot.Reads("register", "/input/request/kinds"))
	require.True(t, snapshot.Reads("heartbeat", "/input/request/url"))
	require.False(t, snapshot.Reads("unknown", admission.InputPointer))
}

func TestReadsOfEmbeddedRulesAreNoCardAndNoWholeRequest(t *testing.T) {
	snapshot := opatest.Load(t, snapshot.Source{Name: "embedded", FS: policies.FS})
	for _, hook := range snapshot.Hooks() {
		require.False(t, snapshot.Reads(hook, admission.CardPointer), snapshot.ReadPointers(hook))
		require.False(t, snapshot.Reads(hook, "/input/facts/global_secret_keys"))
		require.True(t, snapshot.Reads(hook, "/input/request/kind"))
	}
}

var readingBodies = []string{
	`input.request.a == "1"`, `not input.request.a`, `input.request.a.b == 1`, `input.request["b"] != 1`,
	`some m in ["a", "b"]; given(m)`, `effective("a") == "1"`, `not given("b")`, `count(input.request.c) > 1`,
	`every x in input.request.c { x == 1 }`, `input.request.c[1] == 1`, `"1" in input.facts.secret_keys`,
	`input.facts.secret_keys["2"]`, `input.facts.workspace.kind == "1"`, `spend > limit`, `input.url.valid`,
	`input.request[input.request.a]`, `x := input.request.d; x.e.f == 1`, `nested.deep.url == "1"`,
	`input.facts.exists; input.deployment.saas`, `[x | some x in input.request.c] == [1]`, `input.hook != "register"`,
	`some k, v in input.request.d; k == "e"; v == 1`, `m := input.request.a; input.facts.workspace[m] == 1`,
	`given("a") with input.request as input.facts.workspace`, `input.dry_run`, `input.caller_proof == "token"`,
}

// places are the places, by pointer, where an input can be changed.
var places = []string{
	"/request", "/request/a", "/request/a/b", "/request/b", "/request/c", "/request/c/0", "/request/c/1", "/request/d", "/request/d/e",
	"/request/d/e/f", "/request/kind", "/request/url", "/facts/exists", "/facts/workspace", "/facts/workspace/a", "/facts/workspace/kind",
	"/facts/workspace/monthly_spend", "/facts/workspace/budget_limit", "/facts/secret_keys", "/facts/secret_keys/0",
	"/facts/global_secret_keys", "/url/valid", "/url/host", "/deployment/saas", "/dry_run", "/caller_proof",
}

func someJSON(depth int) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		kind := rapid.IntRange(0, 6).Draw(t, "kind")
		switch {
		case kind == 5 && depth > 0:
			return rapid.SliceOfN(someJSON(depth-1), 0, 3).Draw(t, "array")
		case kind == 6 && depth > 0:
			return rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "kind", "url"}), someJSON(depth-1), 0, 5).Draw(t, "object")
		}
		return rapid.SampledFrom([]any{nil, "", "1", "a", 1.0, 2.0, true, false}).Draw(t, "scalar")
	})
}

// A place that is not among the reads can be changed, left out or hidden, and the verdict stays the same.
func TestReadsCoverAllThatChangesAVerdict(t *testing.T) {
	unread := 0
	rapid.Check(t, func(rt *rapid.T) {
		bodies := rapid.SliceOfN(rapid.SampledFrom(readingBodies), 1, 3).Draw(rt, "bodies")
		rules := ""
		for i, body := range bodies {
			rules += opatest.Annotation(fmt.Sprintf("CODE_%d", i)) + "deny contains violation if {\n" + body + "\n" + opatest.SomeEntry + "\n}\n\n"
		}
		snapshot := opatest.Load(t, opatest.Module(rules+library))
		in := anyInput(rt)
		for range 8 {
			place := rapid.SampledFrom(places).Draw(rt, "place")
			if snapshot.Reads("register", "/input"+place) {
				continue
			}
			unread++
			changed := changedAt(rt, in, place)
			before, failedBefore := evaluate(snapshot, in)
			after, failedAfter := evaluate(snapshot, changed)
			require.Equal(rt, failedBefore, failedAfter, "%s\n%s\n%s", place, bodies, in.Request)
			require.Equal(rt, before, after, "%s\n%s\n%s", place, bodies, in.Request)
		}
	})
	require.Positive(t, unread)
}

func evaluate(snapshot *snapshot.Snapshot, in admission.Input) (admission.Verdict, bool) {
	got, err := snapshot.Evaluate(context.Background(), in, time.Unix(0, 0))
	return got, err != nil
}

func anyInput(t *rapid.T) admission.Input {
	object := func(label string, members map[string]any) jsontext.Value {
		for name, value := range rapid.MapOfN(rapid.SampledFrom([]string{"a", "b", "c", "d", "kind", "url"}), someJSON(2), 0, 5).Draw(t, label) {
			members[name] = value
		}
		text, err := json.Marshal(members, json.Deterministic(true))
		require.NoError(t, err)
		return text
	}
	return admission.Input{
		Hook: "register", CallerProof: admission.Token, Request: object("request", map[string]any{"id": "x"}),
		Facts: admission.Facts{
			Exists: true, Workspace: object("row", map[string]any{"monthly_spend": 1, "budget_limit": 2}),
			SecretKeys: rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"1", "2", "3"}), 0, 3, rapid.ID[string]).Draw(t, "keys"),
		},
	}
}

// changedAt puts another value at a place, or removes the value there.
func changedAt(t *rapid.T, in admission.Input, place string) admission.Input {
	text, err := in.JSON()
	require.NoError(t, err)
	var document any
	require.NoError(t, json.Unmarshal(text, &document))
	value := someJSON(2).Draw(t, "value")
	switch {
	case strings.HasSuffix(place, "_keys"):
		value = []any{"9"}
	case place == "/request" || place == "/facts/workspace":
		value = map[string]any{"kind": value}
	case strings.HasSuffix(place, "/0"):
		value = "8"
	case strings.HasPrefix(place, "/url/host") || place == "/caller_proof":
		value = "other"
	case strings.HasPrefix(place, "/request") || strings.HasPrefix(place, "/facts/workspace"):
	default:
		value = rapid.Bool().Draw(t, "flag")
	}
	text, err = json.Marshal(put(document, strings.Split(place[1:], "/"), value), json.Deterministic(true))
	require.NoError(t, err)
	changed, err := admission.ReadInput(text)
	require.NoError(t, err, "%s", text)
	return changed
}

func put(document any, path []string, value any) any {
	if len(path) == 0 {
		return value
	}
	switch within := document.(type) {
	case map[string]any:
		within[path[0]] = put(within[path[0]], path[1:], value)
	case []any:
		if index := int(path[0][0] - '0'); index < len(within) {
			within[index] = put(within[index], path[1:], value)
		}
	}
	return document
}
