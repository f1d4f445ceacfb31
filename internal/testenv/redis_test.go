package testenv

import (
	"net/url"
	"testing"

	"github.com/gomodule/redigo/redis"
	"github.com/stretchr/testify/require"
)

func dialRedis(t *testing.T, address string) redis.Conn {
	t.Helper()
	conn, err := redis.DialURLContext(t.Context(), address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestRedisStopsAndComesBackEmpty(t *testing.T) {
	server := OwnRedis(t)
	conn := dialRedis(t, server.URL())
	_, err := conn.Do("SET", "ws:1", "alive")
	require.NoError(t, err)

	require.NoError(t, server.Stop())
	_, err = conn.Do("GET", "ws:1")
	require.Error(t, err)
	_, err = redis.DialURLContext(t.Context(), server.URL())
	require.Error(t, err)
	require.NoError(t, server.Start(t.Context()))

	_, err = redis.String(dialRedis(t, server.URL()).Do("GET", "ws:1"))
	require.ErrorIs(t, err, redis.ErrNil)
}

func TestRedisWantsItsPassword(t *testing.T) {
	address, err := url.Parse(OwnRedis(t).URL())
	require.NoError(t, err)
	address.User = nil

	_, err = dialRedis(t, address.String()).Do("PING")

	require.ErrorContains(t, err, "NOAUTH")
}

func TestRedisIsSharedByTheTestsOfABinary(t *testing.T) {
	first, second := RedisURL(t), RedisURL(t)
	require.Equal(t, first, second)

	_, err := dialRedis(t, RedisURL(t)).Do("PING")

	require.NoError(t, err)
}

func TestRedisOfTheEnvironmentIsUsed(t *testing.T) {
	server := OwnRedis(t)
	t.Setenv(RedisVariable, server.URL())

	require.Equal(t, server.URL(), RedisURL(t))
}
