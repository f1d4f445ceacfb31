package snapshot_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/opatest"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
)

func weaknesses(snapshot, base *snapshot.Snapshot) []string {
	var all []string
	for _, weakness := range snapshot.WeakerThan(base) {
		all = append(all, weakness.String())
	}
	return all
}

// Everything that makes policies weaker than others is listed. What makes them stricter is not.
func TestWeakerThanListsEveryWay(t *testing.T) {
	shipped := opatest.Load(t, opatest.ShippedWith(t))
	allBut := opatest.EveryRuleBut("url_safety")
	for name, test := range map[string]struct {
		changes [][]string
		want    []string
	}{
		"the same":            {nil, nil},
		"a rule more":         {[][]string{{"register/more.rego", "package admission.register\n\n" + opatest.Annotation("MORE") + "deny contains {\"reason\": \"r\", \"message\": \"m\"} if input.request.never\n"}}, nil},
		"recorded only":       {[][]string{{"data.yaml", "enforcement: {}", "enforcement: {URL_UNSAFE: audit}"}}, []string{"URL_UNSAFE: is audit, not deny (hook heartbeat, register)"}},
		"warned of":           {[][]string{{"data.yaml", "enforcement: {}", "enforcement: {TIER_INVALID: warn}"}}, []string{"TIER_INVALID: is warn, not deny (hook heartbeat, register)"}},
		"warned of at one":    {[][]string{{"register/register.rego", opatest.EveryHook, allBut + "warn contains violation if some violation in lib.url_safety"}}, []string{"URL_UNSAFE: is warn, not deny (hook register)"}},
		"not asked at one":    {[][]string{{"heartbeat/heartbeat.rego", opatest.EveryHook, allBut}}, []string{"URL_UNSAFE: is asked for no more (hook heartbeat)"}},
		"a code that is gone": {[][]string{{"heartbeat/workspace_known.rego", ""}}, []string{"WORKSPACE_UNKNOWN: is gone"}},
		"no mark": {[][]string{{"lib/workspace_requires_secrets.rego", "mark_failed: true", "mark_failed: false"}},
			[]string{"REQUIRED_SECRETS_MISSING: marks nothing failed"}},
		"a refused range":      {[][]string{{"data.yaml", "    - 127.0.0.0/8 # loopback\n", ""}}, []string{"data.url.refused_ranges has no longer 127.0.0.0/8"}},
		"a system folder":      {[][]string{{"data.yaml", "    - /usr/\n", "    - usr/\n"}}, []string{"data.workspace_dir.system_folders has no longer /usr/"}},
		"a scheme more":        {[][]string{{"data.yaml", "schemes: [http, https]", "schemes: [http, https, file]"}}, []string{"data.url.schemes admits file too"}},
		"a scheme less":        {[][]string{{"data.yaml", "schemes: [http, https]", "schemes: [https]"}}, nil},
		"a higher tier":        {[][]string{{"data.yaml", "max: 4", "max: 40"}}, []string{"data.tiers.max is 40, not 4"}},
		"fewer tiers":          {[][]string{{"data.yaml", "max: 4", "max: 3"}}, nil},
		"a private range more": {[][]string{{"data.yaml", "    - 10.0.0.0/8\n", "    - 10.0.0.0/8\n    - 11.0.0.0/8\n"}}, []string{"data.url.private_ranges admits 11.0.0.0/8 too"}},
		"a switch":             {[][]string{{"data.yaml", "single_label_hosts: true", "single_label_hosts: false"}}, []string{"data.url.single_label_hosts is false, not true"}},
		"the identity gate": {[][]string{{"data.yaml", "platform: [MODEL]", "platform: []"}, {"data.yaml", "enforcement: {}", opatest.GateInData}},
			[]string{"PLATFORM_AGENT_IDENTITY_GATE: data.required_secrets.platform has no longer MODEL"}},
		"a hook": {[][]string{{"heartbeat/heartbeat.rego", ""}, {"heartbeat/status_values.rego", ""}, {"heartbeat/workspace_known.rego", ""}, {"data.yaml", "enforcement: {}", opatest.GateInData}},
			[]string{"hook heartbeat is gone", "STATUS_INVALID: is gone", "WORKSPACE_UNKNOWN: is gone"}},
	} {
		t.Run(name, func(t *testing.T) {
			require.ElementsMatch(t, test.want, weaknesses(opatest.Load(t, opatest.ShippedWith(t, test.changes...)), shipped))
		})
	}

	masked := opatest.Load(t, opatest.ShippedWith(t, []string{"data.yaml", "\nmask: []", "\nmask: [/input/request/token]"}, []string{"log.rego", "package system.log\n\nmask contains \"/input/request/owner\"\n"}))
	require.Empty(t, weaknesses(masked, shipped))
	require.Equal(t, []string{"data.mask has no longer /input/request/token", "the rule mask of system.log is gone"}, weaknesses(shipped, masked))
}
