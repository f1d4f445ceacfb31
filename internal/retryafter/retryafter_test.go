package retryafter_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/internal/retryafter"
)

// Retry-After is heard as seconds and as each of HTTP's three forms of a date, within bounds.
func TestRetryAfterIsSecondsOrADate(t *testing.T) {
	now := time.Date(2026, 11, 6, 8, 49, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"":                                0,
		"0":                               0,
		"37":                              37 * time.Second,
		" 37 ":                            37 * time.Second,
		"4294967295":                      10 * time.Minute,
		"99999999999999999999":            0,
		"-5":                              0,
		"1.5":                             0,
		"soon":                            0,
		"Fri, 06 Nov 2026 08:49:37 GMT":   37 * time.Second,
		"Friday, 06-Nov-26 08:49:37 GMT":  37 * time.Second,
		"Fri Nov  6 08:49:37 2026":        37 * time.Second,
		"Fri, 06 Nov 2026 08:48:00 GMT":   0,
		"Fri, 06 Nov 2099 08:48:00 GMT":   10 * time.Minute,
		"2026-11-06T08:49:37Z":            0,
		"Fri, 06 Nov 2026 08:49:37 +0100": 0,
	} {
		require.Equal(t, want, retryafter.Parse(http.Header{"Retry-After": {text}}, now, 10*time.Minute), "%q", text)
	}
	require.Zero(t, retryafter.Parse(http.Header{}, now, time.Hour))
}
