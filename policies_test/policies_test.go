package policiestest_test

import (
	"io/fs"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/casetest"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/policies"
	policiestest "github.com/molecule-ai/gatehouse/policies_test"
)

var embedded = snapshot.Source{Name: "embedded", FS: policies.FS}

// run runs those tests whose names match: data.PACKAGE.RULE of Rego tests, FILE: NAME of cases.
func run(t *testing.T, matching string) casetest.Report {
	t.Helper()
	schema, err := fs.ReadFile(policies.FS, "input.schema.json")
	require.NoError(t, err)
	report, err := casetest.Run(t.Context(), embedded, policiestest.FS, schema, casetest.Options{Run: regexp.MustCompile(matching)})
	require.NoError(t, err)
	return report
}

func TestRegoTestsPassAndReachEveryLine(t *testing.T) {
	report := run(t, "^data\\.")
	require.NotEmpty(t, report.Results)
	for _, result := range report.Results {
		require.True(t, result.Pass(), "%s: %v", result, result.Error)
	}
	require.Empty(t, report.Missed)
	require.InDelta(t, 100, report.Coverage, 0)
}

func TestPoliciesDecideEveryCaseAsItsFileSays(t *testing.T) {
	report := run(t, "^cases/")
	require.NotEmpty(t, report.Cases)
	for _, result := range report.Cases {
		t.Run(result.Case.File+"/"+result.Case.Name, func(t *testing.T) {
			require.Empty(t, result.Problems)
		})
	}
}

func TestEveryRuleHasACaseThatItDenies(t *testing.T) {
	schema, err := fs.ReadFile(policies.FS, "input.schema.json")
	require.NoError(t, err)
	snapshot, err := snapshot.New(t.Context(), embedded, schema)
	require.NoError(t, err)
	cases, err := casetest.Load(policiestest.FS, "cases")
	require.NoError(t, err)

	denied := make(map[string]bool)
	for _, one := range cases {
		for _, rule := range one.ExpectedRules() {
			denied[rule] = true
		}
	}
	for _, rule := range snapshot.Rules() {
		require.True(t, denied[rule.Name], "no case expects a violation of %s", rule.Name)
	}
}
