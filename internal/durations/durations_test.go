package durations_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/internal/durations"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "2s": 2 * time.Second, "500ms": 500 * time.Millisecond, "24h": 24 * time.Hour, "-1s": -time.Second,
		"7d": 168 * time.Hour, "30d": 720 * time.Hour, "0d": 0, "1d12h": 36 * time.Hour, "1d12h30m": 36*time.Hour + 30*time.Minute,
	} {
		got, err := durations.Parse(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"2", "30", "0.4", "-2", "+7", "3600", "2."} {
		_, err := durations.Parse(text)
		require.ErrorIs(t, err, durations.ErrUnit, text)
	}
	for _, text := range []string{"", "soon", "1.5d", "d", "-1d", "7 d", "7D", "1d-1h", "1d2", "200000d", "99999999999999999999d", "106751d23h59m", "2s ", "1w"} {
		_, err := durations.Parse(text)
		require.EqualError(t, err, "want a duration such as 500ms, 2s, 24h or 7d", text)
	}
}
