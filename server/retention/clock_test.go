package retention_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/retention"
)

const day = 24 * time.Hour

var start = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// after lets the clock say times after start, one after the other.
func after(c retention.Clock, times ...time.Duration) retention.Clock {
	for _, t := range times {
		c = c.At(start.Add(t))
	}
	return c
}

func TestClockIsTrustedWhileItGoesOn(t *testing.T) {
	c := retention.Clock{Trusted: start}
	for n := range 24 * 90 {
		now := time.Duration(n) * time.Hour
		c = after(c, now)
		require.Equal(t, retention.Clock{Trusted: start.Add(now)}, c)
	}
	require.Equal(t, retention.Clock{Trusted: start.Add(91 * day)}, after(c, 90*day, 91*day), "off for a day")
}

func TestClockThatLeapsIsDoubtedForThreeDays(t *testing.T) {
	c := after(retention.Clock{Trusted: start}, 60*day)
	require.Equal(t, retention.Clock{Trusted: start, Doubted: start.Add(60 * day)}, c)
	c = after(c, 60*day+time.Hour, 61*day, 63*day-time.Second)
	require.Equal(t, start, c.Trusted)
	require.Equal(t, retention.Clock{Trusted: start.Add(63 * day)}, after(c, 63*day))
}

func TestClockThatIsMendedIsTrustedAtOnce(t *testing.T) {
	c := after(retention.Clock{Trusted: start}, 60*day, 60*day+time.Hour, 2*time.Hour)
	require.Equal(t, retention.Clock{Trusted: start.Add(2 * time.Hour)}, c)
}

func TestClockSetBackButStillAheadIsDoubtedAnew(t *testing.T) {
	c := after(retention.Clock{Trusted: start}, 60*day, 30*day)
	require.Equal(t, retention.Clock{Trusted: start, Doubted: start.Add(30 * day)}, c)
}

func TestClockThatIsSetBackIsTrusted(t *testing.T) {
	require.Equal(t, retention.Clock{Trusted: start.Add(-60 * day)}, after(retention.Clock{Trusted: start}, -60*day))
}
