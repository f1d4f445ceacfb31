package yamlfile_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/loader"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/internal/yamlfile"
)

// opaReads is what OPA's loader takes a data file for.
func opaReads(name string, text []byte) (any, error) {
	loaded, err := loader.NewFileLoader().WithFS(fstest.MapFS{"here/" + name: {Data: text}}).All([]string{"."})
	if err != nil {
		return nil, err
	}
	return loaded.Documents["here"], nil
}

func requireSame(t *testing.T, want, got any, of string) {
	t.Helper()
	wanted, err := ast.InterfaceToValue(want)
	require.NoError(t, err, of)
	gotten, err := ast.InterfaceToValue(got)
	require.NoError(t, err, of)
	require.Zero(t, ast.Compare(wanted, gotten), "%s\nwant %v\ngot  %v", of, wanted, gotten)
}

// The cases of the YAML test suite (github.com/yaml/yaml-test-suite, branch data): what is no YAML is refused; what is
// taken is what the suite says that it is, and what OPA's loader reads.
func TestYAMLTestSuite(t *testing.T) {
	text, err := os.ReadFile("testdata/yaml-test-suite.json")
	require.NoError(t, err)
	var suite []struct {
		ID, Name, YAML, JSON string
		Error                bool
	}
	require.NoError(t, json.Unmarshal(text, &suite))
	var invalid []string
	taken := 0
	for _, one := range suite {
		name := one.ID + " " + one.Name
		got, err := yamlfile.Value("data.yaml", []byte(one.YAML))
		if err != nil {
			var located *yamlfile.Error
			require.ErrorAs(t, err, &located, name)
			continue
		}
		taken++
		opa, err := opaReads("data.yaml", []byte(one.YAML))
		require.NoError(t, err, name)
		requireSame(t, opa, got, name)
		switch {
		case one.Error:
			invalid = append(invalid, one.ID)
		case one.JSON != "" && one.ID != "S4JQ": // "! 12", which is 12 to both libraries and OPA, and a text to the suite
			requireSame(t, parsed(t, one.JSON), got, name)
		}
	}
	require.GreaterOrEqual(t, taken, 180, "most of what is plain is taken")
	// What is taken though the suite says that it is no YAML. Both libraries read it, and alike.
	require.Equal(t, []string{"9C9N", "DK95/01", "QB6E", "S98Z", "Y79Y/003"}, invalid)
}

func parsed(t *testing.T, text string) any {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value any
	require.NoError(t, decoder.Decode(&value))
	return value
}
