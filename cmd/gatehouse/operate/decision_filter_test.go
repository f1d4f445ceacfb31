package operate

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMomentTakesDays(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for text, want := range map[moment]time.Time{"7d": now.Add(-168 * time.Hour), "1d12h": now.Add(-36 * time.Hour), "24h": now.Add(-24 * time.Hour), "0": now, "": {}} {
		got, err := text.at(now)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := moment("7").at(now)
	require.EqualError(t, err, "want a time like 2026-01-31T15:00:00Z, or how long ago, like 24h or 7d")
}
