// Command withservices runs a command with the servers that Gatehouse's tests
// need, started once for all test binaries:
//
//	go run ./internal/testenv/withservices -- go test ./...
//
// It exports GATEHOUSE_TEST_DATABASE_URL and GATEHOUSE_TEST_REDIS_URL, unless
// they are set, installs what is missing where it may, interrupts the command
// on SIGINT and SIGTERM, stops its servers and exits with the command's code. It is not
// needed for a test of one package, which starts servers by itself.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/molecule-ai/gatehouse/internal/testenv"
)

func main() {
	arguments := os.Args[1:]
	if len(arguments) > 0 && arguments[0] == "--" {
		arguments = arguments[1:]
	}
	if len(arguments) == 0 {
		fmt.Fprintln(os.Stderr, "usage: withservices -- command [argument …]")
		os.Exit(2)
	}
	code, err := run(arguments)
	if err != nil {
		fmt.Fprintln(os.Stderr, "withservices:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func run(arguments []string) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	started := &services{}
	defer func() { err = errors.Join(err, started.close()) }()
	err = started.start(ctx)
	if err != nil {
		return 1, err
	}
	return runCommand(ctx, arguments, started.environment)
}

type services struct {
	environment []string
	closers     []func() error
}

func (s *services) start(ctx context.Context) error {
	// Looked up here only so that an installation happens before the tests.
	// Without it the tests that need it fail with the same sentence, and the
	// others still run.
	_, err := testenv.Promtool(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "withservices:", err)
	}
	if os.Getenv(testenv.DatabaseVariable) == "" {
		server, err := testenv.StartPostgres(ctx, testenv.Options{})
		if err != nil {
			return err
		}
		s.add(testenv.DatabaseVariable, server.URL("postgres"), server.Close)
	}
	if os.Getenv(testenv.RedisVariable) == "" {
		server, err := testenv.StartRedis(ctx)
		if err != nil {
			return err
		}
		s.add(testenv.RedisVariable, server.URL(), server.Close)
	}
	return nil
}

func (s *services) add(variable, value string, closer func() error) {
	s.environment = append(s.environment, variable+"="+value)
	s.closers = append(s.closers, closer)
}

func (s *services) close() error {
	var err error
	for _, closer := range s.closers {
		err = errors.Join(err, closer())
	}
	return err
}

// runCommand interrupts the command when ctx ends: "go test" then waits for its test binaries.
func runCommand(ctx context.Context, arguments, environment []string) (int, error) {
	cmd := exec.CommandContext(ctx, arguments[0], arguments[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Env = append(os.Environ(), environment...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return exitCode(cmd.Run())
}

// exitCode follows the shell: a command that a signal ended has 128 more than
// the signal's number.
func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return 0, err
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return exit.ExitCode(), nil
}
