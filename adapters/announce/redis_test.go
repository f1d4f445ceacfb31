package announce_test

import (
	"testing"

	"github.com/gomodule/redigo/redis"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
	"github.com/molecule-ai/gatehouse/internal/testenv"
)

func TestRedisOfAnotherNameKeepsLivenessKeys(t *testing.T) {
	address, yes := testenv.RedisURL(t), true
	conn := dialRedis(t, address)
	defer func() { _ = conn.Close() }()
	heard := redis.PubSubConn{Conn: dialRedis(t, address)}
	defer func() { _ = heard.Close() }()
	require.NoError(t, heard.Subscribe("audit:"+t.Name()))
	_, confirmed := heard.Receive().(redis.Subscription)
	require.True(t, confirmed)
	for deletes, settings := range map[bool]sinks.Redis{
		false: {},
		true:  {LivenessKeys: &yes},
	} {
		settings.URL, settings.Channel = sinks.Secret(address), "audit:"+t.Name()
		event, job := newEvent(t), newJob(t)
		event.WorkspaceID = job.WorkspaceID
		setLivenessKeys(t, conn, event)

		require.NoError(t, openSink(t, sinks.Dependencies{Workspaces: &workspaces{}}, settings).Deliver(t.Context(), job))

		message, ok := heard.Receive().(redis.Message)
		require.True(t, ok)
		require.Equal(t, job.Message, string(message.Data))
		require.Equal(t, deletes, livenessKeys(t, conn, event) == 0)
	}
}
