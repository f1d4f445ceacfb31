package snapshot_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/molecule-ai/gatehouse/adapters/opa/casetest"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
)

// memberValues are values of the members of a request or a row: right ones, nearly right ones, and ones of every wrong type.
var memberValues = map[string][]any{
	"kind":               {"platform", "workspace", "Platform", ""},
	"status":             {"online", "removed", "failed", "paused"},
	"url":                {"https://agent.example.com", "http://127.0.0.1:8000", "http://10.0.0.1/", "http://2852039166/", "https://u:p@a.example", "http:a", "ftp://a.b", "http://agent-7", "http://x.internal."},
	"delivery_mode":      {"push", "poll", "pull", ""},
	"tier":               {1, 4, 5, 0, -1, 1.5, "1"},
	"runtime":            {"langgraph", "claude\r\n", ""},
	"name":               {"concierge", "two\nlines", ""},
	"role":               {"helper", "a\rb"},
	"model":              {"m", "m\n"},
	"parent_id":          {"8a5ff2c8-5b0c-4f4e-9f4e-0d5c0f1a2b3c", ""},
	"workspace_access":   {"none", "read_only", "read_write", "all", ""},
	"workspace_dir":      {"/data/a", "/etc/x", "relative", "/a/../b", "//etc", "/", ""},
	"mcp_server_present": {true, false},
	"budget_limit":       {0, 10, 100},
	"monthly_spend":      {0, 10, 99.5, 1000},
	"from_status":        {"provisioning", "removed", "unknown"},
	"to_status":          {"online", "offline"},
	"agent_card":         {map[string]any{"name": "a"}},
}

var oddValues = []any{nil, true, false, 0, 1, 1e300, "", "x", []any{}, []any{"MODEL"}, map[string]any{}, map[string]any{"kind": "platform"}}

// members draws members, most of them right.
func members(t *rapid.T, what string) map[string]any {
	object := map[string]any{"kind": "workspace", "url": "https://agent.example.com"}
	names := slices.Sorted(maps.Keys(memberValues))
	for range rapid.IntRange(0, 4).Draw(t, what+": other members") {
		name := rapid.SampledFrom(names).Draw(t, what)
		values := memberValues[name]
		if rapid.IntRange(0, 3).Draw(t, what+": odd") == 0 {
			values = oddValues
		}
		object[name] = rapid.SampledFrom(values).Draw(t, what+" "+name)
	}
	return object
}

// oddTexts are values in unusual spellings, some of which no JSON encoder writes.
var oddTexts = []string{
	"1e2", "-0", "1.0", "0.4e1", "1E400", "9007199254740993", `"pl\u0061tform"`, `"\u0000"`, `"\ud83d\ude00"`, `"\u002fetc"`,
	`"` + strings.Repeat("a", 100_000) + `"`, `"https://agent.example.com/` + strings.Repeat("a/", 3000) + `"`,
	strings.Repeat("[", 200) + strings.Repeat("]", 200), strings.Repeat(`{"kind":`, 200) + "1" + strings.Repeat("}", 200), `[ "MODEL" , 1.0 ]`,
}

// spelt writes an object with escaped names, duplicate members and odd values.
func spelt(t *rapid.T, what string, object map[string]any) jsontext.Value {
	text := []byte{'{'}
	member := func(name string, value []byte) {
		if len(text) > 1 {
			text = append(text, " ,\n"...)
		}
		if rapid.IntRange(0, 3).Draw(t, what+": escaped") == 0 {
			text = fmt.Appendf(text, `"\u%04x%s" :`, name[0], name[1:])
		} else {
			text = fmt.Appendf(text, "%q:", name)
		}
		text = append(text, value...)
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		value, err := json.Marshal(object[name])
		require.NoError(t, err)
		member(name, value)
	}
	for range rapid.IntRange(0, 2).Draw(t, what+": once more") {
		name := rapid.SampledFrom(slices.Sorted(maps.Keys(memberValues))).Draw(t, what+": name")
		member(name, []byte(rapid.SampledFrom(oddTexts).Draw(t, what+" "+name)))
	}
	return append(text, " } "...)
}

func nearlyRight(t *rapid.T) admission.Input {
	request := members(t, "request")
	request["id"] = uuid.Nil.String()
	body, err := json.Marshal(map[string]any{
		"workspace": request, "caller_proof": rapid.SampledFrom([]string{"token", "bootstrap", "install"}).Draw(t, "proof"),
	})
	require.NoError(t, err)
	review, err := decode.Review(rapid.SampledFrom([]string{"register", "heartbeat"}).Draw(t, "hook"), body, decode.DefaultMaxDepth)
	require.NoError(t, err)
	row := members(t, "row")
	if _, isText := row["kind"].(string); !isText || row["kind"] == "" { // a store gives no such row
		row["kind"] = "workspace"
	}
	stored, err := json.Marshal(row)
	require.NoError(t, err)
	keys := rapid.SliceOf(rapid.SampledFrom([]string{"MODEL", "model", "OPENAI_API_KEY", "MODEL "}))
	facts, err := admission.NewFacts(rapid.Bool().Draw(t, "exists"), stored, keys.Draw(t, "keys"), keys.Draw(t, "global keys"))
	require.NoError(t, err)
	in := admission.NewInput(review, facts, admission.Deployment{SaaS: rapid.Bool().Draw(t, "saas")})
	if rapid.IntRange(0, 2).Draw(t, "odd spelling") == 0 { // decoding would refuse some of these
		in.Request, in.Facts.Workspace = spelt(t, "request", request), spelt(t, "row", row)
	}
	return in
}

// If the fast path left out a rule that holds, a workspace would pass. For any input, and with broken data too, a decision must
// be the same as OPA's evaluation of the policies as they are written.
func TestRandomInputsAreDecidedAsTheRulesAreWritten(t *testing.T) {
	written := readPlain(t).data
	var snapshots []*snapshot.Snapshot
	for _, data := range []map[string]any{
		{},
		{"required_secrets": map[string]any{"platform": []any{"MODEL", "KEY"}, "workspace": []any{"MODEL"}}},
		{"required_runtime_secrets": map[string]any{"langgraph": []any{"OPENAI_API_KEY"}, "x": "KEY"}},
		{"required_secrets": nil, "tiers": map[string]any{"min": "1", "max": 4}, "url": map[string]any{}},
		{"required_secrets": map[string]any{"platform": "MODEL"}, "statuses": nil, "workspace_dir": nil},
		{"enforcement": map[string]any{"URL_UNSAFE": "audit", "TIER_INVALID": "warn"}},
	} {
		snapshots = append(snapshots, snapshotWith(t, casetest.Merge(written, data)))
	}
	denied, allowed := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		in := nearlyRight(t)
		for _, snapshot := range snapshots {
			want, wantErr := snapshot.EvaluateWatched(t.Context(), in, time.Unix(0, 0))
			got, err := snapshot.Evaluate(t.Context(), in, time.Unix(0, 0))
			require.Equal(t, wantErr != nil, err != nil, "%v, %v", wantErr, err)
			require.Equal(t, want, got)
			if got.Allowed() {
				allowed++
			} else {
				denied++
			}
		}
	})
	require.Greater(t, denied, allowed/10, "inputs that are denied are looked at")
	require.Greater(t, allowed, denied/10, "and so are those that are allowed")
}
