package casetest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/casetest"
	"github.com/molecule-ai/gatehouse/adapters/opa/opatest"
)

const caseHead = `
title: Cases
defaults:
  review: {workspace: {id: 01890a5d-ac96-774b-bcce-b302099a8057, tier: 1, agent_card: {name: A, tags: [a, b]}}}
  facts: {exists: true, workspace: {kind: workspace, status: online}, secret_keys: [A]}
`

func cases(t testing.TB, text string) ([]casetest.Case, error) {
	t.Helper()
	return casetest.Load(fstest.MapFS{"cases/some.yaml": {Data: []byte(text)}, "cases/README.md": {Data: []byte("x")}, "other.yaml": {Data: []byte("x")}}, "cases")
}

func TestCaseFilesWithFaultsAreRefused(t *testing.T) {
	one := caseHead + "cases:\n  - name: one\n"
	for name, test := range map[string]struct{ text, says string }{
		"no YAML":                       {"cases: [", "cases/some.yaml"},
		"nothing":                       {"", "the file is empty"},
		"no cases":                      {caseHead, "no cases"},
		"an unknown member":             {caseHead + "cases: []\nskip: true\n", ":7:1: unknown name; known are cases, defaults, title"},
		"another case":                  {caseHead + "Cases: []\n", "Cases"},
		"a duplicate member":            {caseHead + "title: again\ncases: []\n", "title"},
		"a duplicate in a case":         {one + "    expect: {allowed: true, allowed: false}\n", "allowed"},
		"an unknown member of a case":   {one + "    expects: {allowed: true}\n", "expects"},
		"an unknown expectation":        {one + "    expect: {allowed: true, violation: []}\n", "violation"},
		"an unknown member of expected": {one + "    expect: {violations: [{rule: a, reasons: b}]}\n", "reasons"},
		"an expectation of a type":      {one + "    expect: {allowed: 'true'}\n", "allowed"},
		"no name":                       {caseHead + "cases:\n  - expect: {allowed: true}\n", "needs a name"},
		"no expectation":                {one, "needs a name and an expect"},
		"an empty expectation":          {one + "    expect: {}\n", "needs a name and an expect"},
		"an unknown member of review":   {one + "    review: {kind: platform}\n    expect: {allowed: true}\n", "unknown name; known are caller_proof"},
		"an unknown member of facts":    {one + "    facts: {secrets: [MODEL]}\n    expect: {allowed: true}\n", "unknown name; known are exists"},
		"an unknown member of defaults": {"defaults: {expect: {allowed: true}}\ncases:\n  - name: one\n    expect: {allowed: true}\n", "unknown name; known are data"},
		"an unknown deployment":         {one + "    deployment: {sass: true}\n    expect: {allowed: true}\n", "sass"},
		"no id":                         {"cases:\n  - name: one\n    review: {workspace: {}}\n    expect: {allowed: true}\n", "one: malformed_request: workspace.id"},
		"an unknown proof":              {one + "    review: {caller_proof: none}\n    expect: {allowed: true}\n", "caller_proof"},
		"a stored row without a kind":   {one + "    facts: {workspace: {kind: null}}\n    expect: {allowed: true}\n", "no kind"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := cases(t, test.text)
			require.ErrorContains(t, err, test.says)
			require.ErrorContains(t, err, "cases/some.yaml")
		})
	}
}

func TestCaseOverridesTheDefaults(t *testing.T) {
	found, err := cases(t, caseHead+`cases:
  - name: the defaults
    expect: {allowed: true}
  - name: changes
    review: {hook: heartbeat, caller_proof: install, dry_run: true, workspace: {tier: 2, agent_card: {tags: []}, kind: null}}
    facts: {workspace: {status: null}, secret_keys: [], global_secret_keys: [G]}
    deployment: {saas: true}
    data: {tiers: {max: 9}}
    expect: {violations: []}
  - name: no row
    facts: {exists: false}
    expect: {violations: [{rule: a}, {code: B}, {rule: c, reason: d}]}
`)
	require.NoError(t, err)
	require.Len(t, found, 3)
	inputs := make([]string, len(found))
	for i, one := range found {
		document, err := one.Input().JSON()
		require.NoError(t, err)
		inputs[i] = string(document)
		require.Equal(t, "cases/some.yaml", one.File)
	}
	const url = `"url": {"valid": false, "scheme": "", "host": "", "ip": "", "port": 0, "userinfo": false}`
	require.JSONEq(t, `{"hook": "register", "dry_run": false, "caller_proof": "token", `+url+`, "deployment": {"saas": false},
		"request": {"id": "01890a5d-ac96-774b-bcce-b302099a8057", "tier": 1, "agent_card": {"name": "A", "tags": ["a", "b"]}},
		"facts": {"exists": true, "workspace": {"kind": "workspace", "status": "online"}, "secret_keys": ["A"], "global_secret_keys": []}}`, inputs[0])
	require.JSONEq(t, `{"hook": "heartbeat", "dry_run": true, "caller_proof": "install", `+url+`, "deployment": {"saas": true},
		"request": {"id": "01890a5d-ac96-774b-bcce-b302099a8057", "tier": 2, "agent_card": {"name": "A", "tags": []}, "kind": null},
		"facts": {"exists": true, "workspace": {"kind": "workspace", "status": null}, "secret_keys": [], "global_secret_keys": ["G"]}}`, inputs[1])
	require.Contains(t, inputs[2], `"exists":false`)
	require.Contains(t, inputs[2], `"workspace":{}`)

	require.Empty(t, found[0].ExpectedRules())
	require.Empty(t, found[1].ExpectedRules())
	require.Equal(t, []string{"a", "c"}, found[2].ExpectedRules())
}

func TestCasesAreReadFromEveryFolderInOrder(t *testing.T) {
	one := func(name string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(caseHead + "cases: [{name: " + name + ", expect: {allowed: true}}]")}
	}
	found, err := casetest.Load(fstest.MapFS{"b.yaml": one("third"), "a/z.yaml": one("second"), "a/y.yaml": one("first"), "v.yml": one("other"), ".git/x.yaml": one("git")}, ".")
	require.NoError(t, err)
	var got []string
	for _, c := range found {
		got = append(got, c.Name)
	}
	require.Equal(t, []string{"first", "second", "third", "other"}, got)
	_, err = casetest.Load(os.DirFS(filepath.Join(t.TempDir(), "none")), ".")
	require.Error(t, err)
}

const tiersRule = opatest.HookPackage + "# METADATA\n# title: T\n# description: D\n# custom: {code: TIER_INVALID, severity: medium, status: 422, mark_failed: true}\n" +
	"deny contains {\"reason\": \"tier\", \"message\": sprintf(\"above %d\", [data.tiers.max])} if input.request.tier > data.tiers.max\n\n" +
	"# METADATA\n# title: T\n# description: D\n# custom: {code: TIER_HIGH, severity: low, status: 400}\n" +
	"warn contains {\"reason\": \"high\", \"message\": \"m\"} if input.request.tier > 3\n"

func runCases(t testing.TB, text string) []casetest.CaseResult {
	t.Helper()
	found, err := cases(t, caseHead+text)
	require.NoError(t, err)
	results, err := casetest.RunCases(t.Context(), opatest.Files(map[string]string{"register/tiers.rego": tiersRule, "data.yaml": "tiers: {max: 4}"}), opatest.Schema(t), found)
	require.NoError(t, err)
	return results
}

func TestCasesThatPassHaveNoProblems(t *testing.T) {
	for _, result := range runCases(t, `cases:
  - name: allowed
    expect: {allowed: true, status: 0, mark_failed: false, violations: []}
  - name: denied
    review: {workspace: {tier: 5}}
    expect:
      allowed: false
      status: 422
      mark_failed: true
      violations:
        - {rule: tiers, code: TIER_INVALID, reason: tier, message: above 4, severity: medium, enforcement: deny, status: 422, mark_failed: true}
        - {code: TIER_HIGH, enforcement: warn}
  - name: allowed by other data
    review: {workspace: {tier: 5}}
    data: {tiers: {max: 5}}
    expect: {allowed: true, violations: [{code: TIER_HIGH}]}
  - name: denied by other data
    review: {workspace: {tier: 2}}
    data: {tiers: {max: 1}}
    expect: {allowed: false, violations: [{message: above 1}]}
  - name: enforcement by other data
    review: {workspace: {tier: 5}}
    data: {enforcement: {TIER_INVALID: audit}}
    expect: {allowed: true, violations: [{enforcement: audit}, {enforcement: warn}]}
  - name: the data is again what it was
    review: {workspace: {tier: 2}}
    expect: {allowed: true}
`) {
		require.Empty(t, result.Problems, result.Case.Name)
	}
}

func TestCasesThatFailSayHow(t *testing.T) {
	results := runCases(t, `cases:
  - name: all wrong
    review: {workspace: {tier: 5}}
    expect: {allowed: true, status: 400, mark_failed: false, violations: [{rule: tiers, code: OTHER, status: 400}, {code: TIER_HIGH}]}
  - name: one too few
    expect: {violations: [{code: TIER_INVALID, reason: tier}]}
  - name: one too many
    review: {workspace: {tier: 5}}
    expect: {violations: [{code: TIER_INVALID}]}
  - name: none expected
    review: {workspace: {tier: 4}}
    expect: {violations: []}
  - name: another order
    review: {workspace: {tier: 5}}
    expect: {violations: [{code: TIER_HIGH}, {code: TIER_INVALID}]}
  - name: the same twice
    review: {workspace: {tier: 4}}
    expect: {violations: [{code: TIER_HIGH}, {code: TIER_HIGH}]}
  - name: no such hook
    review: {hook: heartbeat}
    expect: {allowed: true}
  - name: a fault
    review: {workspace: {tier: 5}}
    data: {tiers: {max: [4]}}
    expect: {allowed: true}
`)
	denied := "rule: tiers, code: TIER_INVALID, reason: tier, severity: medium, enforcement: deny, status: 422, mark_failed: true"
	warned := "rule: tiers, code: TIER_HIGH, reason: high, severity: low, enforcement: warn, status: 400, mark_failed: false"
	for i, want := range [][]string{
		{
			"allowed: expected true, got false", "status: expected 400, got 422", "mark_failed: expected false, got true",
			"violations: - expected, + got", "- rule: tiers, code: OTHER, status: 400", "+ " + denied, "  " + warned,
		},
		{"violations: - expected, + got", "- code: TIER_INVALID, reason: tier"},
		{"violations: - expected, + got", "  " + denied, "+ " + warned},
		{"violations: - expected, + got", "+ " + warned},
		{"violations: - expected, + got", "  " + denied, "  " + warned, "the same violations, in another order or number"},
		{"violations: - expected, + got", "  " + warned, "the same violations, in another order or number"},
		{`error: no policy defines hook "heartbeat"`},
	} {
		require.Equal(t, want, results[i].Problems, results[i].Case.Name)
	}
}

func TestCaseWithRefusedDataIsAnError(t *testing.T) {
	found, err := cases(t, caseHead+"cases: [{name: one, data: {enforcement: {OTHER: warn}}, expect: {allowed: true}}]")
	require.NoError(t, err)
	_, err = casetest.RunCases(t.Context(), opatest.Files(map[string]string{"register/tiers.rego": tiersRule}), opatest.Schema(t), found)
	require.ErrorContains(t, err, "cases/some.yaml: one: data.enforcement.OTHER")
	_, err = casetest.RunCases(t.Context(), opatest.Hook("nonsense(1)"), opatest.Schema(t), nil)
	require.ErrorContains(t, err, "some_rule.rego:8")
}

func TestRegoTestsThatFailAreReported(t *testing.T) {
	texts := map[string]string{
		"register/tiers.rego": tiersRule,
		"tiers_test.rego": `package tiers_test

import data.admission.register

test_passes if count(register.deny) == 0 with input.request.tier as 1
test_fails if count(register.deny) == 1 with input.request.tier as 1
numeric if to_number("x") == 1

test_raises if not numeric
test_each[tier] if { some tier in [1, 9]; count(register.deny) == 0 with input.request.tier as tier }
`,
		"data.yaml": "tiers: {max: 4}",
	}
	source := opatest.Files(texts)
	report, err := casetest.Run(t.Context(), source, fstest.MapFS{}, opatest.Schema(t), casetest.Options{})
	require.NoError(t, err)
	require.Len(t, report.Results, 4)
	var failed []string
	for _, result := range report.Failed() {
		failed = append(failed, result.Name)
	}
	require.ElementsMatch(t, []string{"test_fails", "test_raises", "test_each"}, failed)
}

func TestCoverageListsLinesThatNoTestReaches(t *testing.T) {
	rule := opatest.HookPackage + opatest.Annotation("SOME_CODE") + // rows 3 to 6
		"deny contains violation if {\n\tinput.request.bad\n\tsome_helper\n\t" + opatest.SomeEntry + "\n}\n\n" + // 7 to 11
		"some_helper if {\n\tinput.request.worse\n\tevery x in [1, 2] {\n\t\tx > 0\n\t\tx < 3\n\t}\n}\n" // 13 to 19
	source := opatest.Files(map[string]string{"register/b.rego": rule, "lib/a.rego": "package admission.lib\n\nf(x) := y if {\n\ty := x + 1\n}\n", "data.yaml": "a: 1"})
	tests := fstest.MapFS{"some_test.rego": {Data: []byte("package some_test\n\nimport data.admission.register\n\n" +
		"test_good if count(register.deny) == 0 with input as {\"request\": {\"bad\": true}}\n")}}
	report, err := casetest.Run(t.Context(), source, tests, opatest.Schema(t), casetest.Options{})
	require.NoError(t, err)
	require.Empty(t, report.Failed())
	require.Greater(t, report.Coverage, 0.0)
	require.Less(t, report.Coverage, 100.0)
	require.NotContains(t, report.Missed, "register/b.rego:8", "which was reached, and did not hold on")
	for _, line := range []string{"lib/a.rego:3", "lib/a.rego:4", "register/b.rego:10", "register/b.rego:15", "register/b.rego:16", "register/b.rego:17"} {
		require.Contains(t, report.Missed, line)
	}
	require.Equal(t, strings.Count(strings.Join(report.Missed, "\n"), "register/b.rego:16"), 1)
	require.NotContains(t, strings.Join(report.Missed, "\n"), "_test.rego")
	require.True(t, report.Missed[0] == "lib/a.rego:3" && report.Missed[1] == "lib/a.rego:4", "in order: %v", report.Missed)
}

func TestRegoTestsOfOneFileNameAllRun(t *testing.T) {
	test := func(name string) string { return "package " + name + "\n\ntest_" + name + " if true\n" }
	source := opatest.Files(map[string]string{"register/tiers.rego": tiersRule, "same_test.rego": test("beside"), "twice_test.rego": test("twice")})
	report, err := casetest.Run(t.Context(), source, fstest.MapFS{"same_test.rego": {Data: []byte(test("apart"))}, "twice_test.rego": {Data: []byte(test("twice"))}}, opatest.Schema(t), casetest.Options{})
	require.NoError(t, err)
	var ran []string
	for _, result := range report.Results {
		ran = append(ran, result.Name)
	}
	require.ElementsMatch(t, []string{"test_beside", "test_apart", "test_twice"}, ran)
}

func TestRegoTestsThatDoNotCompileAreAnError(t *testing.T) {
	for name, text := range map[string]string{
		"a syntax error":        "package a\n\ntest_a if {",
		"an undefined function": "package a\n\ntest_a if nothing(1)\n",
		"a forbidden builtin":   "package a\n\ntest_a if opa.runtime().env\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := casetest.Run(t.Context(), opatest.Hook(opatest.SomeEntry), fstest.MapFS{"a_test.rego": {Data: []byte(text)}}, opatest.Schema(t), casetest.Options{})
			require.ErrorContains(t, err, "a_test.rego:3")
		})
	}
	_, err := casetest.Run(t.Context(), opatest.Hook("1 = = 2"), fstest.MapFS{}, opatest.Schema(t), casetest.Options{})
	require.ErrorContains(t, err, "some_rule.rego:8")
}
