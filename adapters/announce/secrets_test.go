package announce_test

import (
	"log/slog"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/announce"
	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
	"github.com/molecule-ai/gatehouse/internal/testenv"
)

const password = "hunter2"

func TestRedisRefusesAMalformedURLWithoutRepeatingIt(t *testing.T) {
	for name, address := range map[string]string{
		"control character": "redis://:hunter2\x7f@host",
		"unescaped slash":   "redis://:hunter2/x@host",
		"unescaped hash":    "redis://:hunter2#x@host",
		"unescaped mark":    "redis://:hunter2?x@host",
		"unescaped percent": "redis://:hunter2%@host",
		"no scheme":         "hunter2@host:6379",
		"opaque":            "redis:hunter2@host",
		"other scheme":      "http://:hunter2@host",
		"no host":           "redis://:hunter2@/0",
		"database":          "redis://host/hunter2",
		"negative database": "redis://:hunter2@host/-1",
		"parameter":         "redis://host?password=hunter2",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := openRedis(address, &workspaces{})
			require.Error(t, err)
			require.NotContains(t, err.Error(), password)
		})
	}
}

func TestRedisPasswordIsInNoErrorLogOrRow(t *testing.T) {
	server := testenv.OwnRedis(t)
	wrong, err := url.Parse(server.URL())
	require.NoError(t, err)
	wrong.User = url.UserPassword("gatehouse", password)
	onEachDatabase(t, func(t *testing.T, q *testQueue) {
		count, log := &results{}, &logBook{}
		q.start(t, announce.Options{
			Log: log.logger(slog.LevelDebug), Observe: count.observe,
			Retry: announce.Retry{First: tick, For: 50 * time.Millisecond}, Poll: tick,
		}, newRedis(t, wrong.String(), &workspaces{}))

		q.announce(t, newEvent(t))

		q.requireEmpty(t)
		require.Equal(t, 1, count.of(sinks.Registry, announce.Dead))
		require.Contains(t, log.String(), "WRONGPASS")
		require.NotContains(t, log.String(), password)
		row := q.text(t, "select cast(errors as text) || cast(metadata as text) from "+q.table)
		require.Contains(t, row, "WRONGPASS")
		require.NotContains(t, row, password)
	})
}

func TestRedisLogsInHoweverThePasswordIsGiven(t *testing.T) {
	t.Parallel()
	server := testenv.OwnRedis(t)
	right, err := url.Parse(server.URL())
	require.NoError(t, err)
	secret, _ := right.User.Password()
	for _, user := range []*url.Userinfo{
		url.UserPassword("", secret), url.UserPassword("default", secret), url.User(secret),
	} {
		right.User = user
		sink := newRedis(t, right.String(), &workspaces{})
		require.NoError(t, sink.Deliver(t.Context(), sinks.Job{Message: "{}"}))
	}
}
