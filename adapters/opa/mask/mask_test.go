package mask_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/opatest"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/policies"
	"github.com/molecule-ai/gatehouse/server/admission"
)

const secretCard = `{"name": "Scout", "url": "https:\/\/a.example", "token": "hunter2", "skills": [1.0, 1e30]}`

// masked is how a snapshot records a request with these members.
func masked(t *testing.T, snapshot *snapshot.Snapshot, members string) admission.RecordedInput {
	t.Helper()
	kept, err := snapshot.Mask(t.Context(), admission.Decision{ID: uuid.New(), At: time.Unix(0, 0)}, opatest.Registering(t, members))
	require.NoError(t, err)
	require.True(t, kept.JSON.IsValid(), "%s", kept.JSON)
	require.Equal(t, snapshot.Revision(), kept.Revision)
	return kept
}

func digestOf(card string) string {
	sum := sha256.Sum256([]byte(card))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func TestCardIsRecordedByItsNameURLAndDigest(t *testing.T) {
	snapshot := opatest.Load(t, snapshot.Source{Name: "embedded", FS: policies.FS})
	const card, name, url = admission.CardPointer, admission.NamePointer, admission.URLPointer
	for name, test := range map[string]struct {
		card, want     string
		masked, erased []string
	}{
		"name and url":         {secretCard, `{"name":"Scout","url":"https://a.example","digest":"` + digestOf(secretCard) + `"}`, []string{card}, nil},
		"neither":              {`{"x": 1}`, `{"digest":"` + digestOf(`{"x": 1}`) + `"}`, []string{card}, nil},
		"empty":                {`{}`, `{"digest":"` + digestOf(`{}`) + `"}`, []string{card}, nil},
		"no object":            {`"hunter2"`, `{"digest":"` + digestOf(`"hunter2"`) + `"}`, []string{card}, nil},
		"a name that is none":  {`{"name": ["hunter2"]}`, `{"digest":"` + digestOf(`{"name": ["hunter2"]}`) + `"}`, []string{card}, []string{name}},
		"a url that is none":   {`{"url": null}`, `{"digest":"` + digestOf(`{"url": null}`) + `"}`, []string{card}, []string{url}},
		"a name spelt at will": {`{"\u006eame": "Scout"}`, `{"name":"Scout","digest":"` + digestOf(`{"\u006eame": "Scout"}`) + `"}`, []string{card}, nil},
		"null":                 {`null`, `null`, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			kept := masked(t, snapshot, `, "agent_card": `+test.card+`, "last": 1.50`)
			require.Contains(t, string(kept.JSON), `"agent_card":`+test.want+`,"last":1.50}`)
			require.Equal(t, admission.Redaction{Masked: test.masked, Erased: test.erased}, kept.Redaction)
			require.NotContains(t, string(kept.JSON), "hunter2")
		})
	}
	require.True(t, masked(t, snapshot, "").Empty())
	require.NotContains(t, string(masked(t, snapshot, `, "agent\u005fcard": {"token": "hunter2"}`).JSON), "hunter2")
	require.Contains(t, string(masked(t, snapshot, `, "nested": {"agent_card": {"token": "mine"}}`).JSON), "mine", "it is no card")
}

func TestRecordWithoutMasksIsTheInput(t *testing.T) {
	snapshot := opatest.Load(t, snapshot.Source{Name: "embedded", FS: policies.FS})
	in := opatest.Registering(t, `, "z": 1.50, "a": 1e30, "b": "é\u00e9", "agent_card": null`)
	whole, err := in.JSON()
	require.NoError(t, err)
	require.Equal(t, string(whole), string(masked(t, snapshot, `, "z": 1.50, "a": 1e30, "b": "é\u00e9", "agent_card": null`).JSON))
}

func TestCardIsKeptAsFarAsPoliciesReadIt(t *testing.T) {
	for name, test := range map[string]struct {
		body, card string
		whole      bool
	}{
		"they read no card":                   {"input.request.kind == 1", secretCard, false},
		"they read its name and url":          {"input.request.agent_card.name == input.request.agent_card.url", secretCard, false},
		"they read its name, and it is none":  {"input.request.agent_card.name == 1", `{"name": 1}`, true},
		"they read its url, its name is none": {"input.request.agent_card.url == 1", `{"name": 1}`, false},
		"they read its skills":                {"input.request.agent_card.skills[0] == 1", secretCard, true},
		"they look whether there is one":      {"not input.request.agent_card", secretCard, true},
		"they read below its name":            {"input.request.agent_card.name.first == 1", secretCard, true},
		"they read the whole request":         {"count(input.request) > 9", secretCard, true},
	} {
		t.Run(name, func(t *testing.T) {
			snapshot := opatest.Load(t, opatest.Hook(test.body+"\n"+opatest.SomeEntry))
			kept := masked(t, snapshot, `, "agent_card": `+test.card)
			require.Equal(t, test.whole, kept.Empty(), "%s", kept.JSON)
			_, hidden := kept.Hides(snapshot.ReadPointers("register"))
			require.False(t, hidden, "a record can be replayed with the policies that made it")
		})
	}
}

// withMask is a hook with a mask in data and a mask rule, either of which may be "".
func withMask(data, rule string) snapshot.Source {
	texts := map[string]string{
		"register/r.rego": opatest.HookPackage + opatest.Deny(`input.request.kind == "no"`+"\n"+opatest.SomeEntry),
		"data.yaml":       "mask: " + data,
	}
	if rule != "" {
		texts["system/log.rego"] = "package system.log\n\n" + rule
	}
	return opatest.Files(texts)
}

func TestDataMaskErases(t *testing.T) {
	snapshot := opatest.Load(t, withMask(`[/input/request/token, /input/request/list/1, /input/request/a%2Fb, /input/request/none/x,
		/input/request/list/7, /input/request/text/x, /nd_builtin_cache/x]`, ""))
	kept := masked(t, snapshot, `, "token": "hunter2", "list": [1.0, "hunter2", 1e30], "a/b": "hunter2", "text": "<t>&", "large": 123456789012345678901`)
	require.Contains(t, string(kept.JSON), `"large":123456789012345678901,"list":[1.0,1e30],"text":"<t>&"}`)
	require.NotContains(t, string(kept.JSON), "hunter2")
	require.Equal(t, []string{"/input/request/token", "/input/request/list/1", "/input/request/a%2Fb"}, kept.Erased, "what is not there is not named")

	kept = masked(t, opatest.Load(t, withMask("[/input]", "")), "")
	require.Equal(t, "null", string(kept.JSON))
	require.Equal(t, admission.ErasedWhole(), kept.Redaction)
	require.True(t, masked(t, opatest.Load(t, withMask("", "")), "").Empty())
}

// The cases are those of OPA's own masks.
func TestMaskRuleMasksAsOPADoes(t *testing.T) {
	for name, test := range map[string]struct {
		rule, has      string
		erased, masked []string
	}{
		"a path":               {`mask contains "/input/request/token"`, `"list":[1,2]`, []string{"/input/request/token"}, nil},
		"remove":               {`mask contains {"op": "remove", "path": "/input/request/token"}`, `"list":[1,2]`, []string{"/input/request/token"}, nil},
		"upsert":               {`mask contains {"op": "upsert", "path": "/input/request/token", "value": "***"}`, `"token":"***"`, nil, []string{"/input/request/token"}},
		"upsert of an object":  {`mask contains {"op": "upsert", "path": "/input/request/token", "value": {"b": [1, {2}], "a": null}}`, `"token":{"a":null,"b":[1,[2]]}`, nil, []string{"/input/request/token"}},
		"upsert makes a way":   {`mask contains {"op": "upsert", "path": "/input/request/a/b/c", "value": 1}`, `"a":{"b":{"c":1}}`, nil, []string{"/input/request/a/b/c"}},
		"upsert of an element": {`mask contains {"op": "upsert", "path": "/input/request/list/0", "value": 9}`, `"list":[9,2]`, nil, []string{"/input/request/list/0"}},
		"upsert beyond":        {`mask contains {"op": "upsert", "path": "/input/request/list/2", "value": 9}`, `"list":[1,2]`, nil, nil},
		"upsert below a text":  {`mask contains {"op": "upsert", "path": "/input/request/token/x", "value": 9}`, `"token":"hunter2"`, nil, nil},
		"upsert of everything": {`mask contains {"op": "upsert", "path": "/input", "value": {"a": 1}}`, `{"a":1}`, nil, []string{"/input"}},
		"a condition on input": {`mask contains "/input/request/token" if input.input.request.list[1] == 2`, "", []string{"/input/request/token"}, nil},
		"keys are an array":    {`mask contains "/input/request/token" if input.input.facts.secret_keys == []`, "", []string{"/input/request/token"}, nil},
		"a condition on more":  {`mask contains "/input/request/token" if { input.result.allowed; input.path == "admission/register"; input.decision_id; input.timestamp }`, "", []string{"/input/request/token"}, nil},
		"none applies":         {`mask contains "/input/request/token" if input.input.request.list == 1`, `"token":"hunter2"`, nil, nil},
		"a list":               {`mask := ["/input/request/token"]`, "", []string{"/input/request/token"}, nil},
		"undefined":            {`mask := ["/input/request/token"] if input.input.request.list == 1`, `"token":"hunter2"`, nil, nil},
		"by a library":         {`mask contains path if some path in paths` + "\n\npaths := input.error.code\n", `"token":"hunter2"`, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			kept := masked(t, opatest.Load(t, withMask("", test.rule)), `, "token": "hunter2", "list": [1,2]`)
			require.Contains(t, string(kept.JSON), test.has)
			require.Equal(t, admission.Redaction{Erased: test.erased, Masked: test.masked}, kept.Redaction)
		})
	}
}

// A record whose card was replaced by a mask also hides the card's name and url.
func TestMaskedCardHidesItsName(t *testing.T) {
	reads := []string{admission.NamePointer}
	kept := masked(t, opatest.Load(t, withMask("", `mask contains {"op": "upsert", "path": "/input/request/agent_card", "value": {"name": "x"}}`)), `, "agent_card": `+secretCard)
	require.Contains(t, string(kept.JSON), `"agent_card":{"name":"x"}`)
	_, hidden := kept.Hides(reads)
	require.True(t, hidden)

	kept = masked(t, opatest.Load(t, withMask("[/input/request/agent_card/name]", "")), `, "agent_card": `+secretCard)
	require.NotContains(t, string(kept.JSON), "Scout")
	_, hidden = kept.Hides(reads)
	require.True(t, hidden)

	kept = masked(t, opatest.Load(t, withMask("[/input/request/agent_card/token]", "")), `, "agent_card": `+secretCard)
	_, hidden = kept.Hides(reads)
	require.False(t, hidden)
}

func TestMaskRuleFaultsAreErrors(t *testing.T) {
	for name, test := range map[string]struct{ rule, says string }{
		"a path outside":    {`mask contains "/labels" if input.input.request.bad`, "does not begin with /input"},
		"of the verdict":    {`mask contains "/result/allowed" if input.input.request.bad`, "not masked"},
		"without a slash":   {`mask contains "input/request" if input.input.request.bad`, "slash"},
		"a misspelt member": {`mask contains "/input/reqest/token" if input.input.request.bad`, `the input has no reqest, did you mean "request"?`},
		"a wildcard":        {`mask contains "/input/request/*/token" if input.input.request.bad`, "no wildcards"},
		"a blank":           {`mask contains "/input/request/token " if input.input.request.bad`, "a blank is written %20"},
		"a bad escape":      {`mask contains "/input/%zz" if input.input.request.bad`, "escape"},
		"another op":        {`mask contains {"op": "hash", "path": "/input/request"} if input.input.request.bad`, "neither remove nor upsert"},
		"no op":             {`mask contains {"path": "/input/request"} if input.input.request.bad`, "neither remove nor upsert"},
		"no path":           {`mask contains {"op": "remove"} if input.input.request.bad`, "slash"},
		"a number":          {`mask contains 1 if input.input.request.bad`, "neither a path nor an object"},
		"no set":            {`mask := true if input.input.request.bad`, "no set"},
		"a builtin fails":   {`mask contains "/input" if to_number(input.input.request.bad) == 1`, "to_number"},
		"it does not end":   {`mask contains "/input" if { input.input.request.bad; count(numbers.range(1, 1000000000)) == 1 }`, "mask rule"},
		"conflicting rules": {`mask := ["/input"] if input.input.request.bad` + "\n" + `mask := [] if input.input.request.bad`, "conflict"},
	} {
		t.Run(name, func(t *testing.T) {
			snapshot := opatest.Load(t, withMask("", test.rule))
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			kept, err := snapshot.Mask(ctx, admission.Decision{}, opatest.Registering(t, `, "bad": "x", "token": "hunter2"`))
			require.ErrorContains(t, err, test.says)
			require.Equal(t, admission.RecordedInput{Revision: snapshot.Revision()}, kept)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestMalformedMasksAreRefusedOnLoad(t *testing.T) {
	for name, source := range map[string]snapshot.Source{
		"data: no list":          withMask("/input/x", ""),
		"data: no text":          withMask("[1]", ""),
		"data: outside":          withMask("[/request/token]", ""),
		"data: of the verdict":   withMask("[/result]", ""),
		"rule: does not compile": withMask("", "mask contains x if false"),
		"rule: a builtin":        withMask("", `mask contains "/input" if http.send({}).ok`),
		"rule: never evaluates":  withMask("", `mask contains "/input" if to_number("x") == 1`),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := snapshot.New(t.Context(), source, opatest.Schema(t))
			require.Error(t, err)
		})
	}
}

func TestMaskAppliesToFailedReviews(t *testing.T) {
	snapshot := opatest.Load(t, withMask("", `mask contains "/input/request/token" if input.error.code == "facts_unavailable"`))
	in := opatest.Registering(t, `, "token": "hunter2", "agent_card": `+secretCard)
	in.Facts = admission.Facts{}
	kept, err := snapshot.Mask(t.Context(), admission.Decision{Failed: &admission.Failure{Code: admission.CodeFactsUnavailable}}, in)
	require.NoError(t, err)
	require.NotContains(t, string(kept.JSON), "hunter2")
}

func BenchmarkMask(b *testing.B) {
	snapshot := opatest.Load(b, snapshot.Source{Name: "embedded", FS: policies.FS})
	large := `{"name": "Scout", "url": "https://a.example", "skills": [` + strings.Repeat(`{"id": "x", "tags": ["a", "b"]}, `, 50) + `1]}`
	for name, members := range map[string]string{"no card": "", "card": `, "agent_card": ` + secretCard, "large card": `, "agent_card": ` + large} {
		in := opatest.Registering(b, `, "url": "https://a.example", "kind": "workspace", "delivery_mode": "push"`+members)
		b.Run(name+", JSON alone", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := in.JSON()
				require.NoError(b, err)
			}
		})
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := snapshot.Mask(b.Context(), admission.Decision{}, in)
				require.NoError(b, err)
			}
		})
	}
}
