package snapshot_test

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/policies"
)

// shippedWith is the shipped policies with some files changed: by a text that takes the place of another, or, where
// there is one text, by a whole file. An empty file is none.
func shippedWith(t testing.TB, changes ...[]string) snapshot.Source {
	t.Helper()
	fsys := make(fstest.MapFS)
	err := fs.WalkDir(policies.FS, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(policies.FS, name)
		fsys[name] = &fstest.MapFile{Data: text}
		return err
	})
	require.NoError(t, err)
	for _, change := range changes {
		name := change[0]
		switch {
		case len(change) == 3:
			require.Contains(t, string(fsys[name].Data), change[1], name)
			fsys[name] = &fstest.MapFile{Data: []byte(strings.ReplaceAll(string(fsys[name].Data), change[1], change[2]))}
		case change[1] == "":
			delete(fsys, name)
		default:
			fsys[name] = &fstest.MapFile{Data: []byte(change[1])}
		}
	}
	return snapshot.Source{Name: "mine", FS: fsys}
}

const (
	gateRule   = "lib/platform_requires_model.rego"
	everyHook  = "deny contains violation if some violation in lib.every_hook"
	gateInData = "allow_weaker: [PLATFORM_AGENT_IDENTITY_GATE]\n\nenforcement: {}"
)

// everyRuleBut is what a hook's package says in place of everyHook to ask for all rules but one.
func everyRuleBut(name string) string {
	text, err := fs.ReadFile(policies.FS, "lib/every_hook.rego")
	if err != nil {
		panic(err)
	}
	var asked strings.Builder
	for line := range strings.Lines(string(text)) {
		rule, isRule := strings.CutPrefix(line, "every_hook contains violation if some violation in ")
		if isRule && strings.TrimSpace(rule) != name {
			asked.WriteString("deny contains violation if some violation in lib." + rule)
		}
	}
	return asked.String()
}

// weakenings are ways to weaken PLATFORM_AGENT_IDENTITY_GATE, with what is said of each.
func weakenings() map[string]struct {
	changes [][]string
	says    string
} {
	allBut := everyRuleBut("platform_requires_model")
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
			[][]string{{gateRule, "code: PLATFORM_AGENT_IDENTITY_GATE", "code: PLATFORM_AGENT_GATE"}},
			"no rule has this code",
		},
		"the hook heartbeat is gone": {
			[][]string{{"heartbeat/heartbeat.rego", ""}, {"heartbeat/status_values.rego", ""}, {"heartbeat/workspace_known.rego", ""}},
			"hook heartbeat is gone",
		},
		"a hook does not ask for it": {[][]string{{"heartbeat/heartbeat.rego", everyHook, allBut}}, "hook heartbeat has no rule with this code"},
		"it only warns": {
			[][]string{{"register/register.rego", everyHook, allBut + "warn contains violation if some violation in lib.platform_requires_model"}},
			"a stored platform workspace without MODEL (hook register, status provisioning, caller_proof token) is not denied",
		},
		"it never holds":           {[][]string{{gateRule, "if some violation in identity_gaps", "if {\n\tsome violation in identity_gaps\n\tinput.request.never\n}"}}, "is not denied"},
		"for one proof alone":      {[][]string{{"register/register.rego", everyHook, allBut + "deny contains violation if {\n\tsome violation in lib.platform_requires_model\n\tinput.caller_proof == \"token\"\n}"}}, "caller_proof bootstrap) is not denied"},
		"it marks nothing":         {[][]string{{gateRule, "missing_secret_marks if stored_platform", ""}, {gateRule, "missing_secret_marks if caller_proved", ""}}, "is denied and not marked failed"},
		"a claim hides the row":    {[][]string{{"lib/platform.rego", "platform if stored_platform", "platform if {\n\tstored_platform\n\tnot input.request.kind == \"workspace\"\n}"}}, "is not denied"},
		"a near name is enough":    {[][]string{{"lib/secrets.rego", "key in input.facts.secret_keys", "lower(key) in {lower(k) | some k in input.facts.secret_keys}"}}, "is not denied"},
		"a global secret counts":   {[][]string{{"lib/secrets.rego", "key in input.facts.secret_keys", "key in (input.facts.secret_keys | input.facts.global_secret_keys)"}}, "is not denied"},
		"tools are not asked for":  {[][]string{{gateRule, "input.request.mcp_server_present == false", "input.request.mcp_server_present == \"no\""}}, "a platform workspace without its MCP server"},
		"a failed one is let back": {[][]string{{"lib/platform.rego", "stored_platform if input.facts.workspace.kind == \"platform\"", "stored_platform if {\n\tinput.facts.workspace.kind == \"platform\"\n\tinput.facts.workspace.status != \"failed\"\n}"}}, "status failed, caller_proof token) is not denied"},
	}
}

// Policies that weaken PLATFORM_AGENT_IDENTITY_GATE are refused, with how, unless they say that it is meant.
func TestWeakeningTheIdentityGateIsRefused(t *testing.T) {
	for name, weakening := range weakenings() {
		t.Run(name, func(t *testing.T) {
			source := shippedWith(t, weakening.changes...)
			_, err := snapshot.New(t.Context(), source, schema(t))
			var weakened *snapshot.GateWeakened
			require.ErrorAs(t, err, &weakened)
			require.ErrorContains(t, err, "PLATFORM_AGENT_IDENTITY_GATE is weaker than shipped: ")
			require.ErrorContains(t, err, "allow_weaker: [PLATFORM_AGENT_IDENTITY_GATE]")
			require.Contains(t, strings.Join(weakened.How, "\n"), weakening.says)

			engine := opa.NewEngine(schema(t), time.Now)
			require.ErrorAs(t, engine.Load(t.Context(), source), &weakened, "activation refuses it too")
			_, err = engine.Candidate(t.Context(), source)
			require.ErrorAs(t, err, &weakened, "and so is a candidate")

			meant := append(weakening.changes, []string{"data.yaml", "enforcement: {", "allow_weaker: [PLATFORM_AGENT_IDENTITY_GATE]\n\nenforcement: {"})
			_, err = snapshot.New(t.Context(), shippedWith(t, meant...), schema(t))
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
		_, err := snapshot.New(t.Context(), shippedWith(t, []string{"data.yaml", "enforcement: {}", "allow_weaker: " + text}), schema(t))
		require.ErrorContains(t, err, says)
	}
	_, err := snapshot.New(t.Context(), shippedWith(t, []string{"data.yaml", "enforcement: {}", gateInData}), schema(t))
	require.NoError(t, err)
	_, err = snapshot.New(t.Context(), shippedWith(t), schema(t))
	require.NoError(t, err)
}
