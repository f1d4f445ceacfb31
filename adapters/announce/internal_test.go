package announce

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/stretchr/testify/require"
)

func TestDelaysGrowUpToTheLimitAndDiffer(t *testing.T) {
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

func TestServerThatRepeatsTheLoginIsCutShort(t *testing.T) {
	address := redisAddress{password: "hunter2"}
	for _, answer := range []string{
		"ERR unknown command 'AUTH', with args beginning with: 'hunt",
		"ERR AUTH hunter2 called without any password configured",
	} {
		err := address.withoutPassword(redis.Error(answer))
		require.ErrorContains(t, err, "ERR")
		require.NotContains(t, err.Error(), "hunt")
	}
}

func TestRiverIsQuiet(t *testing.T) {
	var text strings.Builder
	log := slog.New(newQuietHandler(slog.NewTextHandler(&text, nil)))
	log.Info("working")
	for range 3 {
		log.Error("no database", "attempt", 1)
		log.With("queue", "q").Error("no jobs")
	}
	require.Equal(t, 2, strings.Count(text.String(), "\n"), text.String())
	require.Equal(t, 2, strings.Count(text.String(), "level=WARN"))
	require.Equal(t, 2, strings.Count(text.String(), "component=river"))
}

func TestErrorsThatRepeatTheLoginAreMadeWithoutIt(t *testing.T) {
	address, err := parseNATSURL("nats://user:hunter2@a:4222, tls://b")
	require.NoError(t, err)
	require.Equal(t, []string{"nats://a:4222", "tls://b"}, address.servers)
	require.EqualError(t, address.withoutPassword(errors.New("no hunter2 here")), "no … here")
	token, err := parseNATSURL("nats://hunter2@a")
	require.NoError(t, err)
	require.EqualError(t, token.withoutPassword(errors.New("no hunter2 here")), "no … here")
}
