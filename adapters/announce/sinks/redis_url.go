package sinks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/gomodule/redigo/redis"
)

// redisAddress is a Redis and how to log in there.
type redisAddress struct {
	host, port         string
	username, password string
	database           int
	tls                bool
}

// parseRedisURL never repeats what it was given: a password with a character that
// should have been escaped ends up in any part of a URL.
func parseRedisURL(raw string) (redisAddress, error) {
	parsed, err := url.Parse(raw)
	if err != nil || parsed.Opaque != "" || parsed.Fragment != "" || parsed.RawQuery != "" {
		return redisAddress{}, errors.New(
			"the Redis URL is not redis://user:password@host:port/database (escape special characters in the password)")
	}
	if parsed.Scheme != "redis" && parsed.Scheme != "rediss" {
		return redisAddress{}, errors.New("the Redis URL's scheme is neither redis nor rediss")
	}
	if parsed.Hostname() == "" {
		return redisAddress{}, errors.New("the Redis URL has no host")
	}
	address := redisAddress{
		host: parsed.Hostname(), port: parsed.Port(), tls: parsed.Scheme == "rediss",
		username: parsed.User.Username(),
	}
	if address.port == "" {
		address.port = "6379"
	}
	password, given := parsed.User.Password()
	address.password = password
	if !given {
		// As redis-cli reads it: redis://password@host.
		address.username, address.password = "", address.username
	}
	number := strings.Trim(parsed.Path, "/")
	if number != "" {
		address.database, err = strconv.Atoi(number)
		if err != nil || address.database < 0 {
			return redisAddress{}, errors.New("the Redis URL's path is not the number of a database")
		}
	}
	return address, nil
}

func (a redisAddress) dial(ctx context.Context) (redis.Conn, error) {
	conn, err := redis.DialContext(ctx, "tcp", net.JoinHostPort(a.host, a.port),
		redis.DialUsername(a.username),
		redis.DialPassword(a.password),
		redis.DialDatabase(a.database),
		redis.DialUseTLS(a.tls),
		redis.DialConnectTimeout(redisTimeout),
		redis.DialTLSHandshakeTimeout(redisTimeout),
		redis.DialReadTimeout(redisTimeout),
		redis.DialWriteTimeout(redisTimeout),
	)
	if err != nil {
		return nil, a.withoutPassword(err)
	}
	return conn, nil
}

// withoutPassword cuts what a server repeats of the login. A server that does not know AUTH answers with a shortened form of the
// arguments, in which the password would not be found by its text.
func (a redisAddress) withoutPassword(err error) error {
	var refused redis.Error
	if !errors.As(err, &refused) {
		return err
	}
	text, _, _ := strings.Cut(refused.Error(), ", with args")
	if a.password != "" {
		text = strings.ReplaceAll(text, a.password, "…")
	}
	return fmt.Errorf("Redis refused the login: %s", text)
}
