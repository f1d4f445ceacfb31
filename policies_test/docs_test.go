package policiestest_test

import (
	"fmt"
	"io/fs"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"gatehouse/adapters/opa"
	"gatehouse/policies"
)

func TestThePoliciesPageListsEveryRuleAsItsMetadataSays(t *testing.T) {
	page, err := os.ReadFile("../docs/policies.md")
	require.NoError(t, err)
	schema, err := fs.ReadFile(policies.FS, "input.schema.json")
	require.NoError(t, err)
	snapshot, err := opa.NewSnapshot(t.Context(), embedded, schema)
	require.NoError(t, err)
	for _, rule := range snapshot.Rules() {
		marks := "no"
		if rule.MarkFailed {
			marks = "yes"
		}
		require.Contains(t, string(page), fmt.Sprintf("| `%s` | `%s` | %s | %d | %s |", rule.Name, rule.Code, rule.Severity, rule.Status, marks))
	}
}
