// Command withservices runs a command with the servers that Gatehouse's tests
// need, started once for all test binaries:
//
//	go run ./internal/testenv/withservices -- go test ./...
//
// It exports GATEHOUSE_TEST_DATABASE_URL and GATEHOUSE_TEST_REDIS_URL, unless
// they are set, installs what is missing where it may, passes SIGINT and
// SIGTERM on, stops its servers and exits with the command's code. It is not
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
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)

	services, err := startServices(signals)
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, services.close()) }()
	return runCommand(arguments, services.environment, signals)
}

// startServices gives up at the first signal.
func startServices(signals <-chan os.Signal) (*services, error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	finished, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case received := <-signals:
			cancel(fmt.Errorf("stopped by the signal %s", received))
		case <-finished:
		}
	}()
	started := &services{}
	err := started.start(ctx)
	close(finished)
	<-watched
	// The signal explains the error of a start that it broke off, and counts when
	// it came just after the last start.
	interrupted := context.Cause(ctx)
	if interrupted != nil {
		err = interrupted
	}
	cancel(nil)
	if err != nil {
		return nil, errors.Join(err, started.close())
	}
	return started, nil
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

func runCommand(arguments, environment []string, signals <-chan os.Signal) (int, error) {
	cmd := exec.Command(arguments[0], arguments[1:]...)
	cmd.Env = append(os.Environ(), environment...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Start()
	if err != nil {
		return 1, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case received := <-signals:
			// An error means that the command has just ended, which Wait reports.
			_ = cmd.Process.Signal(received)
		case err := <-ended:
			return exitCode(err)
		}
	}
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
