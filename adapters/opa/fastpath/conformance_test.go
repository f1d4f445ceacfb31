//go:build !race

// Nothing here is concurrent, and the race detector makes it take minutes. "make test" runs these tests without it.
package fastpath

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/test/cases"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/regoval"
)

// conformanceCases are those that OPA's own evaluation has to pass, in both versions of Rego.
func conformanceCases(t *testing.T) map[ast.RegoVersion][]cases.TestCase {
	t.Helper()
	folder, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/open-policy-agent/opa").Output()
	require.NoError(t, err)
	read := make(map[ast.RegoVersion][]cases.TestCase)
	for name, version := range map[string]ast.RegoVersion{"v0": ast.RegoV0, "v1": ast.RegoV1} {
		set, err := cases.Load(filepath.Join(strings.TrimSpace(string(folder)), "v1/test/cases/testdata", name))
		require.NoError(t, err)
		read[version] = set.Sorted().Cases
	}
	return read
}

// conformance counts what came of the cases.
type conformance struct {
	cases     int
	documents int // that rules in them define
	told      int // by the fast path
}

// OPA's conformance cases define Rego. For every rule in them the fast path gives the same values and errors as OPA, or says
// that it cannot tell. docs/policies.md has how many it tells. The test compares that number, so that it cannot shrink unseen.
func TestConformanceCasesAreToldAsByOPA(t *testing.T) {
	var counted conformance
	for version, all := range conformanceCases(t) {
		for _, one := range all {
			counted.run(t, one, version)
		}
	}
	text, err := os.ReadFile("../../../docs/policies.md")
	require.NoError(t, err)
	says := fmt.Sprintf("%d cases, whose rules define %d documents. It tells %d of them", counted.cases, counted.documents, counted.told)
	require.True(t, strings.Contains(strings.Join(strings.Fields(string(text)), " "), says), "docs/policies.md says: %s", says)
}

// run leaves out the few cases that do not compile without the builtins that policies lack.
func (c *conformance) run(t *testing.T, one cases.TestCase, version ast.RegoVersion) {
	t.Helper()
	pair, err := ofCase(one, version)
	if err != nil {
		return
	}
	c.cases++
	input := inputOf(t, one)
	for _, node := range pair.nodes {
		c.documents++
		told, difference := pair.compare(t.Context(), node, input)
		require.NoError(t, difference, "%s: %s", one.Filename, one.Note)
		if told {
			c.told++
		}
		if node.sets != nil {
			require.NoError(t, pair.compareAssisted(t.Context(), node, input), "%s: %s", one.Filename, one.Note)
		}
	}
}

func ofCase(one cases.TestCase, version ast.RegoVersion) (*pair, error) {
	options := ast.ParserOptions{RegoVersion: version, Capabilities: regoval.Capabilities()}
	if one.ExperimentalKeywords {
		options.Capabilities = ast.CapabilitiesForThisVersion(ast.CapabilitiesExperimentalKeywords(true))
	}
	modules := make(map[string]string, len(one.Modules))
	for i, text := range one.Modules {
		modules[fmt.Sprintf("%d.rego", i)] = text
	}
	data := map[string]any{}
	if one.Data != nil {
		data = *one.Data
	}
	return newPair(modules, data, options)
}

func inputOf(t *testing.T, one cases.TestCase) ast.Value {
	t.Helper()
	switch {
	case one.InputTerm != nil:
		return ast.MustParseTerm(*one.InputTerm).Value
	case one.Input != nil:
		return ast.MustInterfaceToValue(*one.Input)
	default:
		return nil
	}
}
