package connection

import (
	"context"
	"fmt"
	"hash/fnv"
	"sync"

	"github.com/jackc/pgx/v5"
)

// exclusiveLocks is the first key of the advisory locks of Exclusive. Locks of two keys have nothing to do with
// those of one, of which the migrations' lock is.
const exclusiveLocks = 1197568072

const (
	tryLockSQL = "select pg_try_advisory_lock($1::int, $2::int)"
	unlockSQL  = "select pg_advisory_unlock($1::int, $2::int)"
)

// Exclusive gives one process of all on this database the right to do what name says. held is false if another process has
// it. The right lasts as long as a connection of its own, beside the pool: lost is closed when that connection is lost.
// ctx bounds the asking, not the right.
func (p *Pool) Exclusive(ctx context.Context, name string) (release func(), lost <-chan struct{}, held bool, err error) {
	conn, err := p.TryLock(ctx, name)
	if err != nil || conn == nil {
		return nil, nil, false, err
	}

	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	gone := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		for watching.Err() == nil {
			err := waitForNotification(watching, conn) // nothing notifies: this returns when the connection ends
			if err != nil && watching.Err() == nil {
				p.logger.WarnContext(watching, "an exclusive right is lost", "name", name, "error", err)
				close(gone)
				return
			}
		}
	})
	release = sync.OnceFunc(func() {
		stop()
		watch.Wait()
		Unlock(ctx, conn, name)
	})
	return release, gone, true, nil
}

// TryLock gives a connection that has the lock of name, nil if another has it.
func (p *Pool) TryLock(ctx context.Context, name string) (*pgx.Conn, error) {
	conn, err := p.Dedicated(ctx)
	if err != nil {
		return nil, err
	}
	var held bool
	err = conn.QueryRow(ctx, tryLockSQL, exclusiveLocks, lockKey(name)).Scan(&held)
	if err != nil {
		CloseDedicated(ctx, conn)
		return nil, Explain(ctx, fmt.Errorf("asking for the exclusive right to %q: %w", name, err))
	}
	if !held {
		CloseDedicated(ctx, conn)
		return nil, nil
	}
	return conn, nil
}

// Unlock gives the lock back before it closes the connection, whose end the server may notice a little later.
func Unlock(ctx context.Context, conn *pgx.Conn, name string) {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), pingTimeout)
	defer cancel()
	_, _ = conn.Exec(limited, unlockSQL, exclusiveLocks, lockKey(name)) // closing does the same, if later
	CloseDedicated(ctx, conn)
}

func lockKey(name string) int32 {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(name))
	return int32(hash.Sum32()) //nolint:gosec // all that counts is that it differs
}
