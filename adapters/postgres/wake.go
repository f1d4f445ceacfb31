package postgres

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// eventsChannel is where it is said that events were committed.
const eventsChannel = "gatehouse_events"

const (
	// beginWakeSQL begins a transaction that need not survive a crash: a reader that is not woken polls.
	beginWakeSQL = `begin; set local synchronous_commit = off`

	wakeSQL = `select pg_notify('` + eventsChannel + `', '')`

	wakeTimeout = 2 * time.Second

	// wakePause is the least time between two notifications. A single deny is notified at once. With hundreds of transactions
	// a second, a notification for each would double their cost, for the sender and for the receiver. River's workers look no more
	// often either.
	wakePause = 5 * time.Millisecond
)

// wakeUp notifies the readers of events that some were committed. It is not part of the transactions that write them,
// because Postgres commits transactions that notify one after the other, and each waits for the disk: denies would be
// recorded one at a time. One notification does for all that were committed before it.
type wakeUp struct {
	store   *Store
	pending chan struct{} // holds one element while a notification is due
	closing chan struct{}
	working sync.WaitGroup
}

func newWakeUp(s *Store) *wakeUp {
	w := &wakeUp{store: s, pending: make(chan struct{}, 1), closing: make(chan struct{})}
	w.working.Go(w.run)
	return w
}

func (w *wakeUp) call() {
	select {
	case w.pending <- struct{}{}:
	default: // whoever takes what is there tells of this too
	}
}

// close tells what is to be told, and ends.
func (w *wakeUp) close() {
	close(w.closing)
	w.working.Wait()
}

func (w *wakeUp) run() {
	for {
		select {
		case <-w.pending:
			w.tell()
			select {
			case <-time.After(wakePause):
			case <-w.closing:
			}
		case <-w.closing:
			select {
			case <-w.pending:
				w.tell()
			default:
			}
			return
		}
	}
}

func (w *wakeUp) tell() {
	ctx, cancel := context.WithTimeout(context.Background(), wakeTimeout)
	defer cancel()
	err := w.notify(ctx)
	if err != nil {
		w.store.logger.WarnContext(ctx, "who waits for events is not woken, and polls", "error", err)
	}
}

func (w *wakeUp) notify(ctx context.Context) error {
	conn, err := w.store.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("waiting for a connection: %w", err)
	}
	defer rollBackAndRelease(ctx, conn)
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{BeginQuery: beginWakeSQL})
	if err != nil {
		return err
	}
	last := &commitBatch{Tx: tx}
	defer last.abandon()
	last.queue("notifying", wakeSQL)
	if w.store.outbox != nil {
		err = w.store.outbox.Wake(ctx, last)
		if err != nil {
			return err
		}
	}
	return last.commit(ctx)
}
