package connection

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// A network that drops packets ends no connection. So a connection that is silent for listenPatience is pinged, and must
	// answer within pingTimeout.
	listenPatience = 30 * time.Second
	pingTimeout    = 5 * time.Second

	firstRelisten = 500 * time.Millisecond
	lastRelisten  = 15 * time.Second
)

// Listen calls wake whenever there may have been a notification on channel, until ctx ends. It has a connection of its own
// beside the pool. When that connection is lost, Listen connects again, waiting longer each time, and calls wake for what it
// may have missed. wake must not block.
func (p *Pool) Listen(ctx context.Context, channel string, wake func()) {
	delay := firstRelisten
	for ctx.Err() == nil {
		err := p.listenOnce(ctx, channel, func() {
			delay = firstRelisten
			wake()
		})
		if ctx.Err() != nil {
			return
		}
		// Half of it at random, so that replicas do not come back in step.
		pause := delay/2 + rand.N(delay/2)
		p.logger.WarnContext(ctx, "the wake-up of the live stream is lost; it polls until it is back",
			"error", err, "retry_in", pause)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		delay = min(2*delay, lastRelisten)
	}
}

// listenOnce returns when the connection is lost or ctx ends.
func (p *Pool) listenOnce(ctx context.Context, channel string, wake func()) error {
	conn, err := p.Dedicated(ctx)
	if err != nil {
		return err
	}
	defer CloseDedicated(ctx, conn)
	_, err = conn.Exec(ctx, "listen "+pgx.Identifier{channel}.Sanitize())
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}

	for {
		wake()
		err = waitForNotification(ctx, conn)
		if err != nil {
			return err
		}
	}
}

// waitForNotification returns without an error when there was one, or when there may have been.
func waitForNotification(ctx context.Context, conn *pgx.Conn) error {
	limited, cancel := context.WithTimeout(ctx, listenPatience)
	defer cancel()
	_, err := conn.WaitForNotification(limited)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("waiting for a notification: %w", err)
	}
	limited, cancel = context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	err = conn.Ping(limited)
	if err != nil {
		return fmt.Errorf("asking whether the connection is still there: %w", err)
	}
	return nil
}
