package testenv

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// errEnded means that a server ended by itself.
var errEnded = errors.New("it ended before it answered")

// process is a running child. It has one goroutine, which ends with it.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	// err is how the child ended; it may be read once done is closed.
	err error
}

func startProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The kernel sends the parent-death signal when the thread that made the
		// child ends, so that thread has to last as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		close(p.done)
	}()
	err := <-started
	if err != nil {
		return nil, err
	}
	return p, nil
}

// waitReady asks ping until it succeeds, the child ends or ctx is done.
func (p *process) waitReady(ctx context.Context, ping func(ctx context.Context) error) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		attempt, cancel := context.WithTimeout(ctx, time.Second)
		err := ping(attempt)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%w (%w)", errEnded, p.err)
		case <-ctx.Done():
			return fmt.Errorf("waiting for its answer: %w (last attempt: %w)", ctx.Err(), err)
		case <-ticker.C:
		}
	}
}

// stop sends a signal and waits. A child that does not end in time is killed,
// which is an error.
func (p *process) stop(signal syscall.Signal, patience time.Duration) error {
	// A child that has already ended cannot get a signal, and need not.
	_ = p.cmd.Process.Signal(signal)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("it had to be killed, %s after %s", patience, signal)
	}
}
