package testenv

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gomodule/redigo/redis"
)

func redisTool() tool {
	return tool{
		programs:  []string{"redis-server"},
		debian:    "redis-server",
		otherwise: "set " + RedisVariable + " to the URL of a Redis",
	}
}

// RedisServer is a throwaway Redis without persistence: what it holds is gone
// when it stops.
type RedisServer struct {
	*server

	program  string
	password string
}

// StartRedis starts a server that the caller has to Close. ctx bounds the
// start, installing Redis included, not the server's life.
func StartRedis(ctx context.Context) (*RedisServer, error) {
	return startRedis(ctx, systemFinder())
}

func startRedis(ctx context.Context, find finder) (*RedisServer, error) {
	programs, err := find.find(ctx, redisTool())
	if err != nil {
		return nil, err
	}
	folder, err := newScratch()
	if err != nil {
		return nil, err
	}
	r := &RedisServer{program: filepath.Join(programs, "redis-server"), password: newPassword()}
	r.server = &server{
		name:    "Redis",
		scratch: folder,
		command: r.command,
		ping:    r.ping,
		ending:  syscall.SIGKILL,
	}
	err = r.startFirst(ctx)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// command passes the configuration through standard input: arguments, and the
// password in them, could be read by everybody on the machine.
func (r *RedisServer) command(port int) *exec.Cmd {
	cmd := exec.Command(r.program, "-")
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`bind %s
port %d
requirepass %s
dir %s
save ""
appendonly no
`, loopback, port, r.password, r.scratch.file(dataFolder)))
	return cmd
}

func (r *RedisServer) ping(ctx context.Context) error {
	conn, err := redis.DialURLContext(ctx, r.URL())
	if err != nil {
		return err
	}
	_, err = redis.DoContext(conn, ctx, "PING")
	return errors.Join(err, conn.Close())
}

// URL is the server's address, with its password. It stays the same over Stop
// and Start.
func (r *RedisServer) URL() string {
	address := url.URL{
		Scheme: "redis",
		User:   url.UserPassword("", r.password),
		Host:   r.address(),
		Path:   "/0",
	}
	return address.String()
}

// Stop returns once the server has ended. Its clients see their connections
// break.
func (r *RedisServer) Stop() error { return r.stop(syscall.SIGTERM) }

// RedisURL returns the URL of the Redis of [RedisVariable], or else of one per
// test binary. Tests share it, channels included, so each works with workspace
// ids of its own; one that stops it wants [OwnRedis].
func RedisURL(t testing.TB) string {
	t.Helper()
	address, err := perBinary.redisURL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// OwnRedis starts a server for this test alone and closes it after the test.
func OwnRedis(t testing.TB) *RedisServer {
	t.Helper()
	server, err := StartRedis(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	server.closeAfter(t)
	return server
}
