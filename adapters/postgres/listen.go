package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
)

// eventsChannel is where it is said that events were committed.
const eventsChannel = "gatehouse_events"

const (
	// A connection that is silent for listenPatience is asked whether it is still there, and has pingTimeout to
	// say so: a network that drops packets ends no connection.
	listenPatience = 30 * time.Second
	pingTimeout    = 5 * time.Second

	firstRelisten = 500 * time.Millisecond
	lastRelisten  = 15 * time.Second
)

// ListenEvents calls wake whenever events may have been committed, by whatever process, until ctx ends. It has a
// connection of its own beside the pool, and makes another, ever more slowly, when that one is lost; wake is
// called then too, for what was said meanwhile. wake must not block.
func (s *Store) ListenEvents(ctx context.Context, wake func()) {
	delay := firstRelisten
	for ctx.Err() == nil {
		err := s.listen(ctx, func() {
			delay = firstRelisten
			wake()
		})
		if ctx.Err() != nil {
			return
		}
		// Half of it at random, so that replicas do not come back in step.
		pause := delay/2 + rand.N(delay/2)
		s.logger.WarnContext(ctx, "the wake-up of the live stream is lost; it polls until it is back",
			"error", err, "retry_in", pause)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		delay = min(2*delay, lastRelisten)
	}
}

// listen returns when the connection is lost or ctx ends.
func (s *Store) listen(ctx context.Context, wake func()) error {
	conn, err := s.connectAside(ctx)
	if err != nil {
		return err
	}
	defer closeAside(ctx, conn)
	_, err = conn.Exec(ctx, "listen "+eventsChannel)
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
