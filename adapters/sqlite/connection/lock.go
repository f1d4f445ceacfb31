package connection

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"
)

// Exclusive gives one store of all on this file, in any process, the right to do what name says. held is false, at once, if another
// has it. The right is a lock on a file beside the store. The system takes it back only when the process dies, so lost is nil and
// never fires. It does not end with ctx, nor with the store. release may be called twice.
func (f *File) Exclusive(ctx context.Context, name string) (release func(), lost <-chan struct{}, held bool, err error) {
	err = ctx.Err()
	var unlock func() error
	if err == nil {
		unlock, err = f.LockFile(context.WithoutCancel(ctx), "."+url.PathEscape(name)+"-lock", 0)
	}
	switch {
	case errors.Is(err, ErrLocked):
		return func() {}, nil, false, nil
	case err != nil:
		return nil, nil, false, fmt.Errorf("taking the lock of %s: %w", name, err)
	}
	return func() {
		err := unlock()
		if err != nil {
			f.logger.WarnContext(ctx, "a lock could not be released", "name", name, "error", err)
		}
	}, nil, true, nil
}

// LockFile holds the write lock of an empty SQLite file beside the store, which a process that is killed gives up.
// Where another has it, it waits, and then is ErrLocked. The lock ends with ctx.
func (f *File) LockFile(ctx context.Context, suffix string, patience time.Duration) (unlock func() error, err error) {
	pool, err := openPool(dsn(f.path+suffix, patience, url.Values{
		"_txlock": {"immediate"},
		// Nothing is ever written, so there need be no journal, which a process that is killed would leave.
		"_journal_mode": {"MEMORY"},
		// SQLite makes the file, with the rights of this one. Were it made and closed here, closing it would drop the
		// locks that others in this process have on it by then: that is how POSIX has it.
		"modeof": {f.path},
	}), 1, 0)
	if err != nil {
		return nil, err
	}
	tx, err := pool.BeginTx(ctx, nil)
	if err != nil {
		return nil, errors.Join(Explain(ctx, err), pool.Close())
	}
	return func() error {
		// A context that ended has ended the transaction already, and so has an earlier call.
		_ = tx.Rollback()
		return pool.Close()
	}, nil
}
