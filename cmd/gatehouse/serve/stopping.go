package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/molecule-ai/gatehouse/server/httpapi"
	"github.com/molecule-ai/gatehouse/server/readiness"
)

// told is the cause of a context that a signal ended.
type told struct{ by os.Signal }

func (t told) Error() string { return "told to stop: " + t.by.String() }

// UntilTold gives a context that the first SIGINT or SIGTERM ends. A second one ends the process at once, whatever it is
// doing: what was answered is recorded.
func UntilTold(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case by := <-signals:
			signal.Stop(signals) // the next one does what signals do to a process that does not listen
			cancel(told{by})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}

// idleTimeout outlasts the idle time after which clients drop a connection themselves (90 s in Go's).
const idleTimeout = 2 * time.Minute

// serveUntilTold serves until ctx ends. Then it leaves, so that load balancers stop sending, goes on answering for a while,
// and lets requests under way finish.
func (c *Command) serveUntilTold(
	ctx context.Context, listener net.Listener, service *httpapi.Server, ready *readiness.Readiness, logger *slog.Logger,
) error {
	httpServer := &http.Server{
		Handler: service, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: idleTimeout, MaxHeaderBytes: 32 << 10,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- httpServer.Serve(service.Listener(listener)) }()
	select {
	case err := <-served:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}

	service.Leave()
	delay := c.leavingTakes(ctx, ready)
	if delay > 0 {
		logger.Info("stopping: not ready any more, and answering for a while", "delay", delay)
		select {
		case err := <-served:
			return fmt.Errorf("serving: %w", err)
		case <-time.After(delay):
		}
	}
	logger.Info("stopping: finishing what is under way")
	service.Drain()
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.ShutdownTimeout)
	defer cancel()
	err := httpServer.Shutdown(limited)
	if err != nil {
		return fmt.Errorf("requests under way did not end in %s: %w", c.ShutdownTimeout, err)
	}
	logger.Info("stopped")
	return nil
}

// leavingTakes is how long others may need to notice that the server leaves. SIGTERM comes from who runs it behind a load
// balancer; SIGINT comes from a keyboard, where nobody wants to wait. A server that is not ready has nobody to tell.
func (c *Command) leavingTakes(ctx context.Context, ready *readiness.Readiness) time.Duration {
	var by told
	if !errors.As(context.Cause(ctx), &by) || by.by != syscall.SIGTERM || c.ShutdownDelay <= 0 {
		return 0
	}
	if ready.Check(context.WithoutCancel(ctx)) != nil {
		return 0
	}
	return c.ShutdownDelay
}
