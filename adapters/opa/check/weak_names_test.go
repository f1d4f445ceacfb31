package check_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/opatest"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
)

// Misspelt names, and names that the engine keeps for itself, are refused.
func TestMisspeltAndReservedNamesAreRefused(t *testing.T) {
	in := func(name, text string) snapshot.Source { return opatest.ShippedWith(t, []string{name, text}) }
	inData := func(text string) snapshot.Source {
		return opatest.ShippedWith(t, []string{"data.yaml", "\nmask: []", "\nmask: []\n" + text})
	}
	const log = "package system.log\n\n"
	rule := opatest.Annotation("SOME_CODE") + "deny contains violation if {\n\tinput.request.never\n\t" + opatest.SomeEntry + "\n}\n"
	for name, test := range map[string]struct {
		source snapshot.Source
		says   []string
	}{
		"a misspelt rule of system.log":           {in("log.rego", log+"masks contains \"/input/request/token\"\n"), []string{"log.rego:3:", `unknown rule of system.log: masks, did you mean "mask"?`}},
		"drop":                                    {in("log.rego", log+"mask contains \"/input/request/token\"\n\ndrop if input.result.allowed\n"), []string{"log.rego:5:", "unknown rule of system.log: drop: every decision is recorded"}},
		"an unknown function in a log":            {in("log.rego", log+"masks contains x if x := nowhere(1)\n"), []string{"undefined function nowhere"}},
		"an empty system.log":                     {in("log.rego", log), []string{"log.rego"}},
		"a misspelt datum in a log":               {in("log.rego", log+"mask contains data.masc[_]\n"), []string{`undefined data data.masc, did you mean "mask"?`}},
		"a misspelt member of an event":           {in("log.rego", log+"mask contains \"/input/request/token\" if input.inputs.hook == \"register\"\n"), []string{"log.rego:3:", `a log event has no input.inputs, did you mean "input"?`}},
		"a member of the logged input":            {in("log.rego", log+"mask contains \"/input/request/token\" if input.input.hok == \"register\"\n"), []string{`a log event has no input.input.hok, did you mean "hook"?`}},
		"another package of system":               {in("log.rego", "package system.authz\n\nallow := true\n"), []string{"package system.authz has no meaning here"}},
		"a package below system.log":              {in("log.rego", "package system.log.more\n\nmask contains 1\n"), []string{"package system.log.more has no meaning here"}},
		"a misspelt set":                          {in("register/x.rego", "package admission.register\n\ndenny contains 1 if input.request.never\n"), []string{"register/x.rego:3:", `nothing uses denny, did you mean "deny"?`}},
		"a misspelt set of warnings":              {in("register/x.rego", "package admission.register\n\nwarm contains 1 if input.request.never\n"), []string{`did you mean "warn"?`}},
		"a set in a wrong package":                {in("register/x.rego", "package admision.register\n\ndeny contains {\"reason\": \"r\", \"message\": \"m\"} if input.request.never\n"), []string{"is in no hook"}},
		"a set in the package of no hook":         {in("register/x.rego", "package register\n\nwarn contains 1 if input.request.never\n"), []string{"is in no hook"}},
		"a misspelt hook":                         {in("register/x.rego", "package admission.regster\n\n"+rule), []string{`nobody asks for hook regster, did you mean "register"?`}},
		"a test in a file of rules":               {in("lib/x_tests.rego", "package admission.lib\n\ntest_x if false\n"), []string{"test_x would not run: the name of a file with tests ends in _test.rego"}},
		"a misspelt test":                         {in("lib/x_test.rego", "package lib_test\n\ntset_x if false\n"), []string{"lib/x_test.rego: line 3: tset_x would not run, and nothing uses it: the name of a test begins with test_"}},
		"a rule of a hook in a file of tests":     {in("register/more_test.rego", "package admission.register\n\n"+rule), []string{"register/more_test.rego: line", "admission.register.deny would not be loaded"}},
		"a rule of a new hook in a file of tests": {in("retire/rules_test.rego", "package admission.retire\n\n"+rule), []string{"admission.retire.deny would not be loaded"}},
		"a helper's rule in a file of tests":      {in("lib/more_test.rego", "package admission.lib\n\nurl_safety contains 1 if input.request.never\n"), []string{"admission.lib.url_safety would not be loaded"}},
		"a mask in a file of tests":               {in("log_test.rego", log+"mask contains \"/input/request/token\"\n"), []string{"system.log.mask would not be loaded"}},
		"a package called gatehouse":              {in("x.rego", "package gatehouse.register\n\nx := 1\n"), []string{"package gatehouse.register: gatehouse is reserved"}},
		"data called gatehouse":                   {inData("gatehouse: {register: 1}"), []string{"data.gatehouse: gatehouse is reserved"}},
		"data in a folder gatehouse":              {in("gatehouse/data.json", `{"a": 1}`), []string{"gatehouse is reserved"}},
		"data called system":                      {inData("system: {log: 1}"), []string{"data.system: system is reserved"}},
		"a misspelt reference to data":            {opatest.ShippedWith(t, []string{"lib/tier_range.rego", "data.tiers.max", "data.tierz.max"}), []string{"lib/tier_range.rego:", `undefined data data.tierz, did you mean "tiers"?`}},
		"a misspelt member of data":               {opatest.ShippedWith(t, []string{"lib/tier_range.rego", "data.tiers.max", "data.tiers.maxx"}), []string{`undefined data data.tiers.maxx, did you mean "max"?`}},
		"a member of data that is not":            {opatest.ShippedWith(t, []string{"lib/tier_range.rego", "data.tiers.max", "data.tiers.ceiling"}), []string{"undefined data data.tiers.ceiling"}},
		"a misspelt name of a map":                {opatest.ShippedWith(t, []string{"lib/platform_requires_model.rego", "required_secrets.platform", "required_secrets.platfrom"}), []string{`undefined data data.required_secrets.platfrom, did you mean "platform"?`}},
		"a misspelt datum in data":                {opatest.ShippedWith(t, []string{"data.yaml", "\nrequired_secrets:", "\nrequird_secrets:"}), []string{`undefined data data.required_secrets, did you mean "requird_secrets"?`}},
		"a misspelt datum beside":                 {inData("requird_secrets: {platform: [OTHER]}"), []string{`data.requird_secrets is read by no rule, did you mean "required_secrets"?`}},
		"a misspelt enforcement":                  {inData("enforcment: {URL_UNSAFE: deny}"), []string{`data.enforcment is read by no rule, did you mean "enforcement"?`}},
		"an enforcement that is not on top":       {in("lib/data.yaml", "enforcement: {URL_UNSAFE: deny}"), []string{"data.lib.enforcement is read by nobody: enforcement is at the top of the data"}},
		"a misspelt member beside":                {opatest.ShippedWith(t, []string{"data.yaml", "refused_hosts:", "refused_host: []\n  refused_hosts:"}), []string{`data.url.refused_host is read by no rule, did you mean "refused_hosts"?`}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := snapshot.New(t.Context(), test.source, opatest.Schema(t))
			for _, says := range test.says {
				require.ErrorContains(t, err, says)
			}
		})
	}
}

// Unused rules and data, and files that are left aside, are given as remarks. The shipped policies have none of them.
func TestUnusedRulesAndDataAreRemarked(t *testing.T) {
	require.Empty(t, opatest.Load(t, opatest.ShippedWith(t)).Remarks())
	snapshot := opatest.Load(t, opatest.ShippedWith(t,
		[]string{"data.yaml", "\nmask: []", "\nmask: []\nowners: {a: 1}"}, []string{"lib/x.rego", "package admission.lib\n\nspare_rule if input.request.never\n"},
		[]string{"Makefile", "all:\n"}, []string{"README.md", "hello"}))
	require.ElementsMatch(t, []string{
		"no hook uses admission.lib.spare_rule", "Makefile is left aside: it is neither rules nor data nor tests", "data.owners is read by no rule",
	}, snapshot.Remarks())
}
