package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// commitBatch is the last round trip of a transaction: what it still has to write, what the outbox adds, and the commit.
//
// It is the transaction that the outbox gets. The outbox's one statement takes everything along to the server; without
// one, commit does. As the commit leaves before anything is known of what it commits, every statement before it must
// raise an error on the server unless it did what it was to do: the server then skips the commit.
type commitBatch struct {
	pgx.Tx
	batch   pgx.Batch
	doing   []string // what each statement of the batch does
	results pgx.BatchResults
}

// errOneStatement is given to an outbox that has more than one statement.
var errOneStatement = errors.New("the outbox may put one statement into the transaction")

func (t *commitBatch) queue(doing, sql string, arguments ...any) {
	t.doing = append(t.doing, doing)
	t.batch.Queue(sql, arguments...)
}

// send sends the batch and reads the results of what was queued before.
func (t *commitBatch) send(ctx context.Context, more func()) error {
	if t.results != nil {
		return errOneStatement
	}
	more()
	t.batch.Queue("commit")
	t.results = t.SendBatch(ctx, &t.batch)
	for _, doing := range t.doing {
		_, err := t.results.Exec()
		if err != nil {
			_ = t.results.Close() // send has returned the same error
			return fmt.Errorf("%s: %w", doing, err)
		}
	}
	return nil
}

func (t *commitBatch) Query(ctx context.Context, sql string, arguments ...any) (pgx.Rows, error) {
	err := t.send(ctx, func() { t.batch.Queue(sql, arguments...) })
	if err != nil {
		return nil, err
	}
	return t.results.Query()
}

func (t *commitBatch) Exec(ctx context.Context, sql string, arguments ...any) (pgconn.CommandTag, error) {
	err := t.send(ctx, func() { t.batch.Queue(sql, arguments...) })
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	return t.results.Exec()
}

// abandon stops reading results and gives the connection back to its owner. After commit it does nothing.
func (t *commitBatch) abandon() {
	if t.results != nil {
		_ = t.results.Close() // the caller has the error already
	}
}

// commit returns nil if the transaction is committed. When the connection breaks it returns an error, and the transaction may
// still have been committed.
func (t *commitBatch) commit(ctx context.Context) error {
	if t.results == nil {
		err := t.send(ctx, func() {})
		if err != nil {
			return err
		}
	}
	tag, err := t.results.Exec()
	if closing := t.results.Close(); err == nil {
		err = closing
	}
	if err == nil && tag.String() != "COMMIT" {
		err = fmt.Errorf("the server answered %s", tag)
	}
	if err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	return nil
}
