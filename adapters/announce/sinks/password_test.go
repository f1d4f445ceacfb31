package sinks

import (
	"errors"
	"testing"

	"github.com/gomodule/redigo/redis"
	"github.com/stretchr/testify/require"
)

func TestRedisErrorsEndBeforeTheLogin(t *testing.T) {
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

func TestNATSErrorsHideTheLogin(t *testing.T) {
	address, err := parseNATSURL("nats://user:hunter2@a:4222, tls://b")
	require.NoError(t, err)
	require.Equal(t, []string{"nats://a:4222", "tls://b"}, address.servers)
	require.EqualError(t, address.withoutPassword(errors.New("no hunter2 here")), "no … here")
	token, err := parseNATSURL("nats://hunter2@a")
	require.NoError(t, err)
	require.EqualError(t, token.withoutPassword(errors.New("no hunter2 here")), "no … here")
}
