package opa_test

import (
	"bytes"
	"io/fs"
	"path"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"gatehouse/adapters/opa"
	"gatehouse/policies"
	policytests "gatehouse/policies_test"
	"gatehouse/server/admission"
)

// said is what an entry says, whatever carries it.
type said struct{ reason, message string }

// plainVerdict evaluates deny of a hook by OPA alone: the policies as they are written, the input as JSON.
func plainVerdict(t *testing.T, modules []func(*rego.Rego), data map[string]any, in admission.Input) map[said]bool {
	t.Helper()
	document, err := in.JSON()
	require.NoError(t, err)
	input, err := ast.ValueFromReader(bytes.NewReader(document))
	require.NoError(t, err)
	options := append([]func(*rego.Rego){
		rego.Query("data.admission[hook].deny"), rego.ParsedInput(input), rego.Store(inmem.NewFromObject(data)), rego.StrictBuiltinErrors(true),
	}, modules...)
	results, err := rego.New(options...).Eval(t.Context())
	require.NoError(t, err)
	entries := make(map[said]bool)
	for _, result := range results {
		if result.Bindings["hook"] != in.Hook {
			continue
		}
		for _, entry := range result.Expressions[0].Value.([]any) {
			members := entry.(map[string]any)
			entries[said{members["reason"].(string), members["message"].(string)}] = true
		}
	}
	return entries
}

func TestTheEngineSaysWhatOPASaysOfThePoliciesAsTheyAreWritten(t *testing.T) {
	var modules []func(*rego.Rego)
	err := fs.WalkDir(policies.FS, ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || path.Ext(name) != ".rego" {
			return err
		}
		text, err := fs.ReadFile(policies.FS, name)
		modules = append(modules, rego.Module(name, string(text)))
		return err
	})
	require.NoError(t, err)
	text, err := fs.ReadFile(policies.FS, "data.yaml")
	require.NoError(t, err)
	var data map[string]any
	require.NoError(t, yaml.Unmarshal(text, &data))

	// A case without expectations of its own passes whatever the engine says, so look at what it says.
	all, err := opa.LoadCases(policytests.FS, "cases")
	require.NoError(t, err)
	snapshot := embedded(t)
	denied := 0
	for _, one := range all {
		if len(one.Data()) > 0 {
			continue // RunCases has the only way to change a snapshot's data
		}
		got := make(map[said]bool)
		for _, violation := range verdict(t, snapshot, one.Input()).Violations {
			got[said{violation.Reason, violation.Message}] = true
		}
		require.Equal(t, plainVerdict(t, modules, data, one.Input()), got, "%s: %s", one.File, one.Name)
		denied += len(got)
	}
	require.Greater(t, denied, 50, "the cases deny")
}
