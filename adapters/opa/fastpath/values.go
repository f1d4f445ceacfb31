package fastpath

import (
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// same says whether two values are equal. OPA's evaluation compares arrays and objects member by member. Their method Equal
// compares hashes first, and some equal numbers have different hashes (1e400 and 10e399). There same says unknown.
func same(a, b ast.Value) outcome {
	switch {
	case ast.ValueEqual(a, b):
		return holds
	case ast.IsScalar(a) || ast.IsScalar(b), isPlain(a) && isPlain(b):
		return fails
	default:
		return unknown
	}
}

// isPlain says whether every number in a value is spelt in the usual way. Of such values equal ones are spelt alike.
func isPlain(value ast.Value) bool {
	switch value := value.(type) {
	case ast.Null, ast.Boolean, ast.String:
		return true
	case ast.Number:
		return isPlainNumber(string(value))
	case *ast.Array:
		for i := range value.Len() {
			if !isPlain(value.Elem(i).Value) {
				return false
			}
		}
		return true
	case ast.Set:
		return !slices.ContainsFunc(value.Slice(), func(element *ast.Term) bool { return !isPlain(element.Value) })
	case ast.Object:
		return !value.Until(func(key, member *ast.Term) bool { return !isPlain(key.Value) || !isPlain(member.Value) })
	default:
		return false
	}
}

// isPlainNumber tells 0, 10, -1.5 from -0, 1e1, 1.50.
func isPlainNumber(text string) bool {
	switch {
	case text == "-0" || strings.ContainsAny(text, "eE"):
		return false
	case strings.Contains(text, "."):
		return !strings.HasSuffix(text, "0") && !strings.HasSuffix(text, ".")
	default:
		return true
	}
}
