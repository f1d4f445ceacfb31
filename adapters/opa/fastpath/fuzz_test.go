package fastpath

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/molecule-ai/gatehouse/adapters/opa/regoval"
)

// FuzzFastPath compares the fast path with OPA on policies and inputs that the fuzzer changes. Its corpus is in
// testdata/fuzz, and "make soak" runs it for a minute.
func FuzzFastPath(f *testing.F) {
	f.Fuzz(func(t *testing.T, policy, input string) {
		term, err := ast.ParseTerm(input)
		if err != nil || !ast.IsConstant(term.Value) || strings.Contains(policy, "numbers.range") { // which may take for ever
			return
		}
		pair, err := newPair(map[string]string{"p.rego": policy}, randomData(), ast.ParserOptions{Capabilities: regoval.Capabilities()})
		if err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		for _, node := range pair.nodes {
			_, err = pair.compare(ctx, node, term.Value)
			if err == nil && node.sets != nil {
				err = pair.compareAssisted(ctx, node, term.Value)
			}
			if err != nil && ctx.Err() == nil {
				t.Fatalf("%v\n%s", err, policy)
			}
		}
	})
}
