package suggest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/internal/suggest"
)

func TestNearest(t *testing.T) {
	known := []string{"enforcement", "required_secrets", "mask", "tiers", "url", "rate-limit", "rate"}
	for misspelt, want := range map[string]string{
		"requird_secrets":  "required_secrets",
		"Required-Secrets": "required_secrets",
		"enforcment":       "enforcement",
		"rate_limti":       "rate-limit",
		"maks":             "",
		"msk":              "mask",
		"urls":             "url",
		"something":        "",
		"":                 "",
	} {
		require.Equal(t, want, suggest.Nearest(misspelt, known), misspelt)
	}
	require.Equal(t, `, did you mean "tiers"?`, suggest.DidYouMean("tier", known))
	require.Empty(t, suggest.DidYouMean("something", known))
}
