package announce

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRetryDelaysGrowToTheLimitAndDiffer(t *testing.T) {
	retry := Retry{}.withDefaults()
	for failures, most := range map[int]time.Duration{
		0: 500 * time.Millisecond, 1: 500 * time.Millisecond, 2: time.Second, 5: 8 * time.Second,
		8: time.Minute, 1440: time.Minute, 1 << 20: time.Minute,
	} {
		seen := make(map[time.Duration]bool)
		for range 100 {
			delay := retry.delay(failures)
			require.GreaterOrEqual(t, delay, most/2)
			require.LessOrEqual(t, delay, most)
			seen[delay] = true
		}
		require.Greater(t, len(seen), 10)
	}
}
