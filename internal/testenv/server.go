package testenv

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	loopback = "127.0.0.1"
	logFile  = "server.log"

	// Crash recovery on a busy machine is the slowest start there is.
	startPatience = time.Minute
	stopPatience  = 30 * time.Second
)

// server is what a PostgreSQL and a Redis have in common: a child process that
// can be stopped and started again at one address with one folder. Its methods
// may be called concurrently.
type server struct {
	name    string
	scratch *scratch
	command func(port int) *exec.Cmd
	ping    func(ctx context.Context) error
	// ending is the signal on which the server ends at once, without ceremony.
	ending syscall.Signal

	mu      sync.Mutex
	port    int
	running *process
}

// startFirst finds a port. Another process may take it between the look and the
// server's own listen, so it tries a few.
func (s *server) startFirst(ctx context.Context) error {
	var err error
	for range 5 {
		s.port, err = freePort()
		if err != nil {
			return fmt.Errorf("starting %s: %w", s.name, err)
		}
		err = s.Start(ctx)
		if !errors.Is(err, errEnded) || !strings.Contains(err.Error(), "Address already in use") {
			return err
		}
	}
	return err
}

// Start starts a stopped server again, at the same URL, and returns once it
// answers. It does nothing to a server that runs.
func (s *server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	running, err := s.launch()
	if err != nil {
		return fmt.Errorf("starting %s: %w", s.name, err)
	}
	err = running.waitReady(ctx, s.ping)
	if err != nil {
		_ = running.stop(s.ending, stopPatience)
		return fmt.Errorf("starting %s: %w%s", s.name, err, s.logTail())
	}
	s.running = running
	return nil
}

func (s *server) launch() (*process, error) {
	log, err := os.OpenFile(s.scratch.file(logFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening its log: %w", err)
	}
	// The child has its own copy of the descriptor.
	defer func() { _ = log.Close() }()
	cmd := s.command(s.port)
	cmd.Stdout, cmd.Stderr = log, log
	s.confine(cmd)
	return startProcess(cmd)
}

// confine gives a command the server's account and folder and an environment
// without the caller's settings: PGPORT, PGDATA or a language that translates
// messages would change what the server does.
func (s *server) confine(cmd *exec.Cmd) {
	cmd.Dir = s.scratch.path
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = serverAttributes(s.scratch.account, s.ending)
}

// stop does nothing to a server that is stopped.
func (s *server) stop(signal syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		return nil
	}
	err := s.running.stop(signal, stopPatience)
	s.running = nil
	if err != nil {
		return fmt.Errorf("stopping %s: %w%s", s.name, err, s.logTail())
	}
	return nil
}

// Close stops the server and deletes everything it had. It may be called again.
func (s *server) Close() error {
	err := s.stop(s.ending)
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(err, s.scratch.remove())
}

// closeAfter closes the server after the test.
func (s *server) closeAfter(t testing.TB) {
	t.Cleanup(func() {
		err := s.Close()
		if err != nil {
			t.Error(err)
		}
	})
}

func (s *server) address() string {
	return net.JoinHostPort(loopback, strconv.Itoa(s.port))
}

// logTail is the end of the server's log, made to be put behind an error.
func (s *server) logTail() string {
	const limit = 2000
	log, err := os.ReadFile(s.scratch.file(logFile))
	if err != nil {
		return fmt.Sprintf("; its log: %v", err)
	}
	log = bytes.TrimSpace(log)
	if len(log) > limit {
		log = log[len(log)-limit:]
	}
	return "; its log ends with:\n" + string(log)
}

// freePort stays below the range that systems give to outgoing connections: a
// client of another test could otherwise sit on the port of a stopped server.
func freePort() (int, error) {
	const lowest, count = 15000, 15000
	var err error
	for range 50 {
		port := lowest + mathrand.IntN(count)
		var listener net.Listener
		listener, err = net.Listen("tcp", net.JoinHostPort(loopback, strconv.Itoa(port)))
		if err != nil {
			continue
		}
		return port, listener.Close()
	}
	return 0, fmt.Errorf("finding a free port: %w", err)
}

// newPassword has letters and digits only, so that it fits into a URL, a
// configuration line and a file as it is.
func newPassword() string { return rand.Text() }
