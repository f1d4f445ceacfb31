package casetest_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/casetest"
	"github.com/molecule-ai/gatehouse/internal/yamlfile"
)

func caseSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(casetest.Schema()))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("case.schema.json", document))
	schema, err := compiler.Compile("case.schema.json")
	require.NoError(t, err)
	return schema
}

func validate(t *testing.T, schema *jsonschema.Schema, text []byte) error {
	t.Helper()
	value, err := yamlfile.Value("case.yaml", text)
	require.NoError(t, err)
	return schema.Validate(value)
}

func TestCaseSchemaAcceptsEveryCaseFile(t *testing.T) {
	schema := caseSchema(t)
	names, err := filepath.Glob("../../../policies_test/cases/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, names)
	for _, name := range names {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		require.NoError(t, validate(t, schema, text), name)
	}
}

// The loader refuses whatever the schema refuses, so that an editor marks no case that would run.
func TestCaseSchemaRefusesWhatTheLoaderRefuses(t *testing.T) {
	schema := caseSchema(t)
	good := caseHead + `cases:
  - name: one
    review: {hook: register, caller_proof: token}
    facts: {secret_keys: [A]}
    deployment: {saas: true}
    expect: {allowed: true, violations: [{rule: a, code: B, reason: c}]}
`
	require.NoError(t, validate(t, schema, []byte(good)))
	for _, misspelt := range [][2]string{
		{"title:", "titel:"}, {"defaults:", "default:"}, {"cases:", "case:"}, {"name: one", "nam: one"}, {"    review:", "    reveiw:"},
		{"hook:", "hok:"}, {"caller_proof: token", "caller_proof: tokn"}, {"secret_keys: [A]}\n    dep", "secrets_keys: [A]}\n    dep"},
		{"deployment:", "deploiment:"}, {"saas:", "sass:"}, {"expect:", "expects:"}, {"allowed:", "allow:"}, {"violations:", "violation:"},
		{"rule: a", "rules: a"}, {"code: B", "cod: B"}, {"reason: c", "reasons: c"}, {"allowed: true", "allowed: 'yes'"}, {"name: one", "name: ''"},
	} {
		text := strings.Replace(good, misspelt[0], misspelt[1], 1)
		require.NotEqual(t, good, text, misspelt)
		require.Error(t, validate(t, schema, []byte(text)), misspelt)
		_, err := cases(t, text)
		require.Error(t, err, misspelt)
	}
}
