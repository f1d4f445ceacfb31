package connection

import (
	"context"
	"database/sql"
	"time"
)

// InTransaction commits what do does with database/sql, or nothing of it.
func (f *File) InTransaction(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := f.Writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer Rollback(tx)
	err = do(tx)
	if err != nil {
		return err
	}
	return tx.Commit()
}

// Rollback ends a transaction that was not committed. Its error says nothing that the error which led here
// does not say; after a commit it does nothing.
func Rollback(tx *sql.Tx) { _ = tx.Rollback() }

// InBatches runs transactions until there is no more to do. After each it pauses for as long as that one took, so that other processes,
// which poll for the lock, find it free. Requests of this process are next in the queue anyway.
func (f *File) InBatches(ctx context.Context, batch func(*sql.Tx) (more bool, err error)) error {
	for {
		var more bool
		start := time.Now()
		err := f.InTransaction(ctx, func(tx *sql.Tx) (err error) {
			more, err = batch(tx)
			return err
		})
		if err != nil || !more {
			return err
		}
		pause := time.NewTimer(time.Since(start))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		}
	}
}
