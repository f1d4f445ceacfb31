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
	// beginWakeSQL begins a transaction that nobody needs to survive a crash: who is not woken polls.
	beginWakeSQL = `begin; set local synchronous_commit = off`

	wakeSQL = `select pg_notify('` + eventsChannel + `', '')`

	wakeTimeout = 2 * time.Second

	// wakePause is how long one notification does for what is committed after it. A deny alone is told of at once; of
	// hundreds of transactions a second each would take as long again to tell of, and to hear of, as it took itself.
	// River's workers do not look more often either.
	wakePause = 5 * time.Millisecond
)

// wakeUp tells who waits for events that some were committed. It is not part of the transactions that write them,
// because Postgres commits transactions that notify one after the other, and each waits for the disk: denies would be
// recorded one at a time. One notification does for all that were committed before it.
type wakeUp struct {
	store   *Store
	pending chan struct{} // holds one while there is something to tell
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
