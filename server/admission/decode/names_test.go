package decode_test

import (
	"bytes"
	stdjson "encoding/json"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
)

const otherID = "00000000-0000-4000-8000-000000000002"

// respelt are members of a workspace with the id, and the name that a refusal of them must tell.
var respelt = map[string]struct{ members, named string }{
	"the id again":               {`"ID": "` + otherID + `"`, `"ID"`},
	"the id again, escaped":      {`"\u0049d": "` + otherID + `"`, `"Id"`},
	"the kind":                   {`"Kind": "platform"`, `"Kind"`},
	"the url":                    {`"URL": "http://169.254.169.254/"`, `"URL"`},
	"a k that is a Kelvin sign":  {"\"\u212aind\": \"platform\"", `"\u212aind"`},
	"an s that is a long one":    {"\"mcp_\u017ferver_pre\u017fent\": false", `"mcp_\u017ferver_pre\u017fent"`},
	"a Kelvin sign, escaped":     {`"\u212aind": "platform"`, `"\u212aind"`},
	"a name between other names": {`"name": "n", "Delivery_Mode": "poll", "role": "r"`, `"Delivery_Mode"`},
	"of a heartbeat":             {`"From_Status": "offline"`, `"From_Status"`},
	"the card":                   {`"Agent_Card": {}`, `"Agent_Card"`},
	"a name of nobody's, twice":  {`"labels": [], "Labels": []`, `"Labels"`},
	"of other scripts":           {`"ключ": 1, "КЛЮЧ": 2`, `"\u041a\u041b\u042e\u0427"`},
	"a sigma at the end":         {`"λόγος": 1, "λόγοσ": 2`, `"\u03bb\u03cc\u03b3\u03bf\u03c3"`},
}

// A request with a name that the registry would take for another one is refused, in whatever form it comes.
func TestBodiesWithRespeltNamesAreRefused(t *testing.T) {
	for what, test := range respelt {
		t.Run(what, func(t *testing.T) {
			workspace := withID(test.members)
			stored := `{"review": ` + envelope(withID("")) + `, "facts": {"exists": true, "workspace": ` + workspace + `}`
			for form, decodeIt := range map[string]func() error{
				"review": func() error { _, err := decodeReview(envelope(workspace)); return err },
				"heartbeat": func() error {
					_, err := decode.Review("heartbeat", []byte(envelope(workspace)), decode.DefaultMaxDepth)
					return err
				},
				"batch": func() error {
					_, err := decode.Batch("register", []byte(`{"reviews": [`+envelope(workspace)+`]}`), decode.DefaultMaxDepth)
					return err
				},
				"relay": func() error {
					_, err := decode.Payload("register", []byte(workspace), admission.Token, decode.DefaultMaxDepth)
					return err
				},
				"what-if": func() error {
					_, err := decode.WhatIf([]byte(`{"hook": "register", "review": `+envelope(workspace)+`}`), decode.DefaultMaxDepth)
					return err
				},
				"facts of a what-if": func() error {
					_, err := decode.WhatIf([]byte(stored+`, "hook": "register"}`), decode.DefaultMaxDepth)
					return err
				},
				"what-ifs": func() error {
					_, err := decode.WhatIfs([]byte(`{"hook": "register", "reviews": [`+stored+`}]}`), decode.DefaultMaxDepth)
					return err
				},
			} {
				require.Contains(t, malformed(t, decodeIt()), "member "+test.named, form)
			}
		})
	}
}

// A member that nobody binds may have any name. So may what is nested in a member.
func TestReviewAcceptsNamesThatNobodyBinds(t *testing.T) {
	for _, members := range []string{
		`"agentCard": {}, "UID": 1`,
		`"agent_card": {"URL": "u", "url": "v", "Kind": "platform", "kind": 1}, "Labels": {"ID": 1, "id": 2}`,
		`"delivery-mode": "poll", "i d": 1, "uri": 2, "ключ": 3`,
		`"": 1`,
	} {
		review(t, envelope(withID(members)))
	}
}

// Every member that a shipped rule reads of a request, and every column of a workspace, is a bound name.
func TestBoundNamesIncludeThoseOfPoliciesAndFacts(t *testing.T) {
	var names []string
	rules := os.DirFS("../../../policies")
	require.NoError(t, fs.WalkDir(rules, ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".rego") {
			return err
		}
		text, err := fs.ReadFile(rules, path)
		for _, match := range regexp.MustCompile(`\binput\.request\.(\w+)`).FindAllSubmatch(text, -1) {
			names = append(names, string(match[1]))
		}
		return err
	}))
	require.Contains(t, names, "mcp_server_present")
	for column := range reflect.TypeFor[admission.Workspace]().Fields() {
		names = append(names, column.Tag.Get("json"))
	}
	require.Contains(t, names, "monthly_spend")
	for _, name := range names {
		respelt := strings.ToUpper(name[:1]) + name[1:]
		_, err := decodeReview(envelope(withID(`"` + respelt + `": 1`)))
		require.Contains(t, malformed(t, err), `"`+respelt+`"`)
	}
}

// A body with very many names that are not lower case is read in time that grows with its length only.
func TestReviewOfManyOddNamesTakesLinearTime(t *testing.T) {
	var members strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&members, `,"N%d":1`, i)
	}
	review(t, envelope(withID(members.String()[1:])))
}

// registered is what the registry binds of a register request, by encoding/json.
type registered struct {
	ID               string             `json:"id"`
	URL              string             `json:"url"`
	AgentCard        stdjson.RawMessage `json:"agent_card"`
	Kind             string             `json:"kind"`
	DeliveryMode     string             `json:"delivery_mode"`
	MCPServerPresent *bool              `json:"mcp_server_present"`
}

// anyPayload draws a register payload with names in odd spellings and, at times, twice.
func anyPayload(rt *rapid.T) (body string, plain bool) {
	plain = true
	names := rapid.SampledFrom([]string{"id", "url", "kind", "delivery_mode", "mcp_server_present", "agent_card", "labels"})
	members := []string{`"id": "` + workspaceID + `"`}
	seen := map[string]bool{"id": true}
	for i := range rapid.IntRange(0, 5).Draw(rt, "members") {
		name := names.Draw(rt, fmt.Sprint("name ", i))
		plain = plain && !seen[name]
		seen[name] = true
		var quoted strings.Builder
		for _, letter := range name {
			spelling := rapid.SampledFrom(spellings(letter)).Draw(rt, "letter")
			plain = plain && spelling == string(letter)
			quoted.WriteString(spelling)
		}
		members = append(members, `"`+quoted.String()+`": `+anyValueOf(name).Draw(rt, "value"))
	}
	members = rapid.Permutation(members).Draw(rt, "order")
	return "{" + strings.Join(members, ", ") + "}", plain
}

// spellings has the letter itself most often.
func spellings(letter rune) []string {
	same := string(letter)
	all := []string{
		same, same, same, same, same, same, same, same, same, same, same, same, same, same, same, same, same, same, same, same,
		strings.ToUpper(same), fmt.Sprintf(`\u%04x`, letter), fmt.Sprintf(`\u%04X`, []rune(strings.ToUpper(same))[0]),
	}
	switch letter {
	case 'k':
		all = append(all, "\u212a", `\u212a`)
	case 's':
		all = append(all, "\u017f", `\u017F`)
	case '_':
		all = append(all, "-", "")
	}
	return all
}

func anyValueOf(name string) *rapid.Generator[string] {
	switch name {
	case "id":
		return rapid.SampledFrom([]string{`"` + otherID + `"`, `"` + strings.ToUpper(workspaceID) + `"`, "null"})
	case "url":
		return rapid.SampledFrom([]string{`"https://a.example"`, `"http:\/\/169.254.169.254/"`, `""`, "null"})
	case "mcp_server_present":
		return rapid.SampledFrom([]string{"true", "false", "null"})
	default:
		return rapid.SampledFrom([]string{`"platform"`, `"\u0070latform"`, `"poll"`, `""`, "null", `"Platform"`})
	}
}

// An accepted payload has the same members for the registry. The registry reads with encoding/json, and so does this test.
func TestPayloadReadsNamesAsTheRegistryDoes(t *testing.T) {
	var accepted, odd int
	rapid.Check(t, func(rt *rapid.T) {
		body, plain := anyPayload(rt)
		got, err := decode.Payload("register", []byte(body), admission.Token, decode.DefaultMaxDepth)
		if err != nil {
			require.False(rt, plain, body)
			return
		}
		accepted++
		if !plain {
			odd++
		}
		var theirs registered
		require.NoError(rt, stdjson.Unmarshal([]byte(body), &theirs), body)
		id, err := decode.ParseWorkspaceID(theirs.ID)
		require.NoError(rt, err)
		require.Equal(rt, id, got.WorkspaceID, body)
		require.Equal(rt, theirs.Kind, got.Kind, body)
		require.Equal(rt, decode.ParseURL(theirs.URL), got.URL, body)

		// What policies see of the rest has exact names.
		var members map[string]jsontext.Value
		require.NoError(rt, json.Unmarshal(got.Workspace, &members))
		require.Equal(rt, theirs.DeliveryMode, textOf(members["delivery_mode"]), body)
		require.Equal(rt, bytes.Equal(members["mcp_server_present"], []byte("false")),
			theirs.MCPServerPresent != nil && !*theirs.MCPServerPresent, body)
		require.Equal(rt, string(theirs.AgentCard), string(members["agent_card"]), body)
	})
	require.Positive(t, accepted)
	require.Positive(t, odd, "escaped names are not respelt")
}

func textOf(value jsontext.Value) string {
	var text string
	_ = json.Unmarshal(value, &text)
	return text
}
