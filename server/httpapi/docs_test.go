package httpapi

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/httpapi/respond"
)

func TestAPIPageHasEveryErrorCodeWithItsStatus(t *testing.T) {
	page, err := os.ReadFile("../../docs/api.md")
	require.NoError(t, err)
	for _, code := range declaredCodes(t) {
		status, _ := respond.StatusOf(code)
		require.Contains(t, string(page), fmt.Sprintf("| %d | `%s` |", status, code))
	}
}
