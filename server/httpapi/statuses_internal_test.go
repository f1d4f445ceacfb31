package httpapi

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi/respond"
)

func TestStatusOfEveryCode(t *testing.T) {
	declared := declaredCodes(t)
	require.NotEmpty(t, declared)
	for _, code := range declared {
		status, known := respond.StatusOf(code)
		require.True(t, known, code)
		require.GreaterOrEqual(t, status, 400, code)
		require.Equal(t, status >= 500, code.IsFault(), code)
	}
}

// declaredCodes reads the constants of type Code out of the source, so that a new one cannot be forgotten here.
func declaredCodes(t *testing.T) []admission.Code {
	file, err := parser.ParseFile(token.NewFileSet(), "../admission/errors.go", nil, 0)
	require.NoError(t, err)
	var codes []admission.Code
	ast.Inspect(file, func(node ast.Node) bool {
		spec, isValue := node.(*ast.ValueSpec)
		if !isValue {
			return true
		}
		if kind, isName := spec.Type.(*ast.Ident); !isName || kind.Name != "Code" {
			return true
		}
		for _, value := range spec.Values {
			text, err := strconv.Unquote(value.(*ast.BasicLit).Value)
			require.NoError(t, err)
			codes = append(codes, admission.Code(text))
		}
		return true
	})
	return codes
}

func TestStatusOfAnUnknownCode(t *testing.T) {
	require.Equal(t, 500, respond.NewProblem(&admission.Error{Code: "never_heard_of"}).Status)
}
