package snapshot_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/adapters/opa/opatest"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
)

// weakenings are ways to weaken PLATFORM_AGENT_IDENTITY_GATE, each with the text of its refusal.
func weakenings() map[string]struct {
	changes [][]string
	says    string
} {
	allBut := opatest.EveryRuleBut("platform_requires_model")
	type weakening = struct {
		changes [][]string
		says    string
	}
	return map[string]weakening{
		"enforced as a warning": {
			[][]string{{"data.yaml", "enforcement: {}", "enforcement: {PLATFORM_AGENT_IDENTITY_GATE: warn}"}},
			"data.enforcement.PLATFORM_AGENT_IDENTITY_GATE is warn",
		},
		"only recorded": {
			[][]string{{"data.yaml", "enforcement: {}", "enforcement: {PLATFORM_AGENT_IDENTITY_GATE: audit}"}},
			"data.enforcement.PLATFORM_AGENT_IDENTITY_GATE is audit",
		},
		"no secrets required": {[][]string{{"data.yaml", "platform: [MODEL]", "platform: []"}}, "data.required_secrets.platform does not name MODEL"},
		"another secret":      {[][]string{{"data.yaml", "platform: [MODEL]", "platform: [MODEL_NAME]"}}, "data.required_secrets.platform does not name MODEL"},
		"no rule has the code": {
			[][]string{{opatest.GateRule, "code: PLATFORM_AGENT_IDENTITY_GATE", "code: PLATFORM_AGENT_GATE"}},
			"no rule has this code",
		},
		"the hook heartbeat is gone": {
			[][]string{{"heartbeat/heartbeat.rego", ""}, {"heartbeat/status_values.rego", ""}, {"heartbeat/workspace_known.rego", ""}},
			"hook heartbeat is gone",
		},
		"a hook does not ask for it": {[][]string{{"heartbeat/heartbeat.rego", opatest.EveryHook, allBut}}, "hook heartbeat has no rule with this code"},
		"it only warns": {
			[][]string{{"register/register.rego", opatest.EveryHook, allBut + "warn contains violation if some violation in lib.platform_requires_model"}},
			"a stored platform workspace without MODEL (hook register, status provisioning, caller_proof token) is not denied",
		},
		"it never holds":           {[][]string{{opatest.GateRule, "some key in data.required_secrets.platform", "some key in data.required_secrets.platform\n\tinput.request.never"}}, "is not denied"},
		"for one proof alone":      {[][]string{{"register/register.rego", opatest.EveryHook, allBut + "deny contains violation if {\n\tsome violation in lib.platform_requires_model\n\tinput.caller_proof == \"token\"\n}"}}, "caller_proof bootstrap) is not denied"},
		"it marks nothing":         {[][]string{{opatest.GateRule, "missing_secret_marks if stored_platform", ""}, {opatest.GateRule, "missing_secret_marks if caller_proved", ""}}, "is denied and not marked failed"},
		"a claim hides the row":    {[][]string{{"lib/platform.rego", "platform if stored_platform", "platform if {\n\tstored_platform\n\tnot input.request.kind == \"workspace\"\n}"}}, "is not denied"},
		"a near name is enough":    {[][]string{{"lib/secrets.rego", "key in input.facts.secret_keys", "lower(key) in {lower(k) | some k in input.facts.secret_keys}"}}, "is not denied"},
		"a global secret counts":   {[][]string{{"lib/secrets.rego", "key in input.facts.secret_keys", "key in (input.facts.secret_keys | input.facts.global_secret_keys)"}}, "is not denied"},
		"tools are not asked for":  {[][]string{{opatest.GateRule, "input.request.mcp_server_present == false", "input.request.mcp_server_present == \"no\""}}, "a platform workspace without its MCP server"},
		"a failed one is let back": {[][]string{{"lib/platform.rego", "stored_platform if input.facts.workspace.kind == \"platform\"", "stored_platform if {\n\tinput.facts.workspace.kind == \"platform\"\n\tinput.facts.workspace.status != \"failed\"\n}"}}, "status failed, caller_proof token) is not denied"},
	}
}

// Policies that weaken PLATFORM_AGENT_IDENTITY_GATE are refused, and the error says how they do. With allow_weaker they pass.
func TestIdentityGateRefusesWeakerPolicies(t *testing.T) {
	for name, weakening := range weakenings() {
		t.Run(name, func(t *testing.T) {
			source := opatest.ShippedWith(t, weakening.changes...)
			_, err := snapshot.New(t.Context(), source, opatest.Schema(t))
			var weakened *snapshot.GateWeakened
			require.ErrorAs(t, err, &weakened)
			require.ErrorContains(t, err, "PLATFORM_AGENT_IDENTITY_GATE is weaker than shipped: ")
			require.ErrorContains(t, err, "allow_weaker: [PLATFORM_AGENT_IDENTITY_GATE]")
			require.Contains(t, strings.Join(weakened.How, "\n"), weakening.says)

			engine := opa.NewEngine(opatest.Schema(t), time.Now, opa.Options{})
			require.ErrorAs(t, engine.Load(t.Context(), source), &weakened, "activation refuses it too")
			_, err = engine.Candidate(t.Context(), source)
			require.ErrorAs(t, err, &weakened, "and so is a candidate")

			meant := append(weakening.changes, []string{"data.yaml", "enforcement: {", "allow_weaker: [PLATFORM_AGENT_IDENTITY_GATE]\n\nenforcement: {"})
			_, err = snapshot.New(t.Context(), opatest.ShippedWith(t, meant...), opatest.Schema(t))
			require.NoError(t, err)
		})
	}
}

// allow_weaker is a list of codes that exist.
func TestAllowWeakerNamesCodesThatExist(t *testing.T) {
	for text, says := range map[string]string{
		"[PLATFORM_AGENT_IDENTITY_GATES]": "data.allow_weaker: no rule has the code PLATFORM_AGENT_IDENTITY_GATES",
		"[true]":                          "data.allow_weaker: no rule has the code true",
		"PLATFORM_AGENT_IDENTITY_GATE":    "data.allow_weaker is no list of codes",
		"{URL_UNSAFE: true}":              "data.allow_weaker is no list of codes",
	} {
		_, err := snapshot.New(t.Context(), opatest.ShippedWith(t, []string{"data.yaml", "enforcement: {}", "allow_weaker: " + text}), opatest.Schema(t))
		require.ErrorContains(t, err, says)
	}
	_, err := snapshot.New(t.Context(), opatest.ShippedWith(t, []string{"data.yaml", "enforcement: {}", opatest.GateInData}), opatest.Schema(t))
	require.NoError(t, err)
	_, err = snapshot.New(t.Context(), opatest.ShippedWith(t), opatest.Schema(t))
	require.NoError(t, err)
}
