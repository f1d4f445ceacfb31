package httpapi

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheAPIPageHasEveryErrorCodeWithItsStatus(t *testing.T) {
	page, err := os.ReadFile("../../docs/api.md")
	require.NoError(t, err)
	for code, status := range statuses {
		require.Contains(t, string(page), fmt.Sprintf("| %d | `%s` |", status, code))
	}
}
