//go:build !race

package fastpath

import (
	"os"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// tally counts what came of random policies.
type tally struct{ policies, refused, asked, told, defined int }

// check compares one random policy with OPA on some random inputs.
func (c *tally) check(t *rapid.T) {
	gen, pair, text := c.compiling(t)
	if pair == nil {
		return
	}
	for range 4 {
		input := ast.MustParseTerm(gen.input()).Value
		for _, node := range pair.nodes {
			c.asked++
			told, difference := pair.compare(t.Context(), node, input)
			require.NoError(t, difference, text)
			if told {
				c.told++
				if found := pair.tell(node, input).value; found != nil && found.Compare(ast.NewSet()) != 0 {
					c.defined++
				}
			}
			if node.sets != nil {
				require.NoError(t, pair.compareAssisted(t.Context(), node, input), text)
			}
		}
	}
}

// compiling makes policies until one compiles.
func (c *tally) compiling(t *rapid.T) (*policyGen, *pair, string) {
	for range 5 {
		gen := &policyGen{t: t}
		text := gen.policy()
		made, err := newPair(map[string]string{"p.rego": text}, randomData(), ast.ParserOptions{})
		if err == nil {
			c.policies++
			return gen, made, text
		}
		c.refused++
	}
	return nil, nil, ""
}

// randomBudget is how long policies are made: thousands on an idle machine, hundreds in make check.
func randomBudget() time.Duration {
	if os.Getenv("QUICK_TESTS") != "" {
		return time.Second
	}
	return 15 * time.Second
}

// For random policies the fast path gives the same entries and errors as OPA, or says that it cannot tell. It must decide
// enough of them for this to mean something.
func TestRandomPoliciesAreToldAsByOPA(t *testing.T) {
	var counted tally
	for start := time.Now(); time.Since(start) < randomBudget(); {
		rapid.Check(t, counted.check)
	}
	t.Logf("%+v", counted)
	require.Less(t, counted.refused, 2*counted.policies, "many policies compile")
	require.Greater(t, counted.told, counted.asked*4/10, "the fast path tells of many rules")
	require.Greater(t, counted.defined, counted.told/8, "and they do not only fail")
}
