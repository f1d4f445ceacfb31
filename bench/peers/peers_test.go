package peers

import (
	"encoding/json"
	"testing"

	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/stretchr/testify/require"
)

// Both peers must come to what the rules of bench/policy say: OPA on the input that do-it-yourself sends, and the rules
// in Go.
func TestPeersDecideAsTheRules(t *testing.T) {
	query, err := rego.New(rego.Query("data.admission.register.deny"), rego.Load([]string{"../policy"}, nil)).PrepareForEval(t.Context())
	require.NoError(t, err)
	row := workspace{Kind: "workspace", Status: "provisioning", Tier: 1, Runtime: "hermes"}
	with := func(change func(*workspace)) *workspace { changed := row; change(&changed); return &changed }
	for name, one := range map[string]struct {
		url    string
		row    *workspace
		keys   []string
		reason string
	}{
		"allowed":         {"https://a.example.com/a2a", &row, []string{"MODEL"}, ""},
		"unknown":         {"https://a.example.com/a2a", nil, []string{}, ""},
		"platform":        {"https://a.example.com", with(func(w *workspace) { w.Kind = "platform" }), []string{}, "model_missing"},
		"platform, MODEL": {"https://a.example.com", with(func(w *workspace) { w.Kind = "platform" }), []string{"MODEL"}, ""},
		"runtime":         {"https://a.example.com", with(func(w *workspace) { w.Runtime = "langgraph" }), []string{"MODEL"}, "secret_missing"},
		"removed":         {"https://a.example.com", with(func(w *workspace) { w.Status = "removed" }), []string{}, "removed"},
		"tier":            {"https://a.example.com", with(func(w *workspace) { w.Tier = 5 }), []string{}, "tier_unknown"},
		"no URL":          {"", &row, []string{}, "url_invalid"},
		"address":         {"http://10.1.2.3:8080/", &row, []string{}, "url_refused"},
		"other address":   {"http://8.8.8.8/", &row, []string{}, ""},
	} {
		asked := registration{URL: one.url, DeliveryMode: "push"}
		request, err := json.Marshal(asked)
		require.NoError(t, err)
		known := facts{Exists: one.row != nil, Workspace: one.row, SecretKeys: one.keys}
		text, err := json.Marshal(input{Request: request, Facts: known, URL: read(one.url)})
		require.NoError(t, err)
		var sent any
		require.NoError(t, json.Unmarshal(text, &sent))
		result, err := query.Eval(t.Context(), rego.EvalInput(sent))
		require.NoError(t, err)
		said, err := json.Marshal(result[0].Expressions[0].Value)
		require.NoError(t, err)
		here, err := json.Marshal(violationsOf(asked, known))
		require.NoError(t, err)
		require.JSONEq(t, string(said), string(here), name)
		if one.reason == "" {
			require.Equal(t, "[]", string(here), name)
		} else {
			require.Contains(t, string(here), one.reason, name)
		}
	}
}
