package testenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The environment variables that name servers to use instead of throwaway ones.
const (
	// DatabaseVariable holds the URL of a PostgreSQL superuser. Tests create
	// databases and the role gatehouse_test there.
	DatabaseVariable = "GATEHOUSE_TEST_DATABASE_URL"
	// RedisVariable holds the URL of a Redis.
	RedisVariable = "GATEHOUSE_TEST_REDIS_URL"
)

// perBinary has to be a global: the tests of a binary share servers, and Go's
// testing package hands nothing from TestMain to them.
var perBinary binaryServers //nolint:gochecknoglobals // see above

// binaryServers are the servers of one test binary, each started at its first
// use.
type binaryServers struct {
	postgres once[*PostgresServer]
	redis    once[*RedisServer]
}

// Main runs a package's tests, stops the servers that they started and, if they
// passed, checks that no goroutine is left. It returns the code to exit with.
func Main(m *testing.M, options ...goleak.Option) int {
	return perBinary.finish(m.Run(), os.Stderr, options...)
}

func (b *binaryServers) finish(code int, log io.Writer, options ...goleak.Option) int {
	err := errors.Join(stopOnce(&b.postgres), stopOnce(&b.redis))
	if err != nil {
		fmt.Fprintln(log, "testenv:", err)
		code = max(code, 1)
	}
	if code != 0 {
		return code
	}
	err = goleak.Find(options...)
	if err != nil {
		fmt.Fprintln(log, "testenv: the tests passed, but left goroutines behind:", err)
		return 1
	}
	return 0
}

// databaseAdmin is the URL of a superuser on the server of this test binary.
func (b *binaryServers) databaseAdmin(ctx context.Context) (string, error) {
	given := os.Getenv(DatabaseVariable)
	if given != "" {
		return given, nil
	}
	server, err := b.postgres.get(ctx, func(ctx context.Context) (*PostgresServer, error) {
		return StartPostgres(ctx, Options{})
	})
	if err != nil {
		return "", err
	}
	return server.URL("postgres"), nil
}

func (b *binaryServers) redisURL(ctx context.Context) (string, error) {
	given := os.Getenv(RedisVariable)
	if given != "" {
		return given, nil
	}
	server, err := b.redis.get(ctx, StartRedis)
	if err != nil {
		return "", err
	}
	return server.URL(), nil
}

// once makes a value at its first use. A failure stays: trying again in each
// test would only make the same sentence come later.
type once[V any] struct {
	mu    sync.Mutex
	made  bool
	value V
	err   error
}

// get does not let the first test's end cut short what all tests wait for.
func (o *once[V]) get(ctx context.Context, makeValue func(context.Context) (V, error)) (V, error) {
	// Enough for an installation from a slow mirror.
	const patience = 10 * time.Minute
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.made {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		o.value, o.err = makeValue(ctx)
		o.made = true
	}
	return o.value, o.err
}

func stopOnce[V io.Closer](o *once[V]) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.made || o.err != nil {
		return nil
	}
	o.made = false
	return o.value.Close()
}
