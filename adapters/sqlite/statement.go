package sqlite

import (
	"context"
	"database/sql"
	"sync/atomic"
)

// statement is one that is asked so often that preparing it each time would be much of its cost. It is prepared at
// its first use: when the store is opened, the tables may not be there yet. The pool closes it.
type statement struct {
	pool     *sql.DB
	query    string
	prepared atomic.Pointer[sql.Stmt]
}

// get waits for a connection, if it is the first to ask.
func (s *statement) get(ctx context.Context) (*sql.Stmt, error) {
	prepared := s.prepared.Load()
	if prepared != nil {
		return prepared, nil
	}
	prepared, err := s.pool.PrepareContext(ctx, s.query)
	if err != nil {
		return nil, err
	}
	if s.prepared.CompareAndSwap(nil, prepared) {
		return prepared, nil
	}
	return s.prepared.Load(), prepared.Close() //nolint:sqlclosecheck // another caller was first; there is nothing to defer to
}

// in gives it within a transaction, which closes it. It was prepared before: the transaction holds a connection.
func (s *statement) in(ctx context.Context, tx *sql.Tx) *sql.Stmt {
	return tx.StmtContext(ctx, s.prepared.Load())
}
