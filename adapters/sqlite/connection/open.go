// Package connection opens the SQLite file: the one connection that writes, those that read, locks beside the file, and
// what an error of SQLite means. It knows no table.
package connection

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
	"time"
)

// File is an open file. It is safe for concurrent use.
type File struct {
	// Writer has one connection: SQLite has one writer at a time anyway, and waiting in Go's queue is fair and ends with the
	// context, where SQLite's busy loop is neither.
	Writer *sql.DB
	// Readers cannot write (mode=ro), whatever an operator's facts query says, and wait for no writer.
	Readers *sql.DB
	Lookups *Lookups // as Readers

	path   string
	opened fs.FileInfo // of path
	logger *slog.Logger
}

// defaultBusyTimeout is well inside the two seconds of a request, so that the error names the lock and not
// the deadline.
const defaultBusyTimeout = time.Second

// lookupTimeout is short, because most look-ups are not interrupted. A reader waits only for a process that recovers the
// WAL after another one died.
const lookupTimeout = 100 * time.Millisecond

// Open opens the file, and makes it and its folder if they are not there. busy is how long to wait for another process's
// transaction; 0 is one second.
func Open(ctx context.Context, path string, busy time.Duration, logger *slog.Logger) (*File, error) {
	path, err := prepareFile(path)
	if err != nil {
		return nil, err
	}
	f := &File{path: path, logger: logger}
	busy = cmp.Or(busy, defaultBusyTimeout)
	err = f.connect(busy)
	if err == nil {
		err = f.firstUse(ctx, busy)
	}
	if err == nil {
		f.opened, err = os.Stat(path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, Explain(ctx, err)), f.Close())
	}
	return f, nil
}

// ErrMoved: the file was deleted, moved or replaced. What is written now would be lost.
var ErrMoved = errors.New("the file that was opened is no longer at its path")

// CheckPlace is ErrMoved where the file was deleted, moved or replaced. SQLite would go on writing into the deleted file
// without an error, and every answer would be lost when the process ends.
func (f *File) CheckPlace() error {
	now, err := os.Stat(f.path)
	if err == nil && os.SameFile(f.opened, now) {
		return nil
	}
	return errors.Join(ErrMoved, err)
}

func (f *File) connect(busy time.Duration) (err error) {
	size := max(4, runtime.GOMAXPROCS(0))
	f.Writer, err = openPool(writerDSN(f.path, busy), 1, busy)
	if err != nil {
		return err
	}
	f.Readers, err = openPool(readerDSN(f.path, busy), size, 0)
	if err != nil {
		return err
	}
	f.Lookups, err = newLookups(readerDSN(f.path, min(busy, lookupTimeout)), size)
	return err
}

// openPool opens a pool of connections; busy is 0 where none of them writes.
func openPool(dsn string, size int, busy time.Duration) (*sql.DB, error) {
	connector, err := newConnector(dsn, busy)
	if err != nil {
		return nil, err
	}
	pool := sql.OpenDB(connector)
	pool.SetMaxOpenConns(size)
	pool.SetMaxIdleConns(size)
	return pool, nil
}

// firstUse puts a new file into WAL mode. Where several processes do so at once, SQLite refuses all but one without
// waiting, whatever the busy timeout says, so they try again.
func (f *File) firstUse(ctx context.Context, busy time.Duration) error {
	const pause = 10 * time.Millisecond
	until := time.Now().Add(busy)
	for {
		err := f.checkDurable(ctx)
		if ctx.Err() != nil || !errors.Is(Explain(ctx, err), ErrLocked) || time.Now().After(until) {
			return err
		}
		time.Sleep(pause)
	}
}

// checkDurable refuses a file on which the promise cannot be kept: SQLite leaves WAL mode out without an
// error where the file system cannot do it.
func (f *File) checkDurable(ctx context.Context) error {
	var journal string
	var synchronous int
	err := f.Writer.QueryRowContext(ctx, `select journal_mode, synchronous from pragma_journal_mode, pragma_synchronous`).
		Scan(&journal, &synchronous)
	if err != nil {
		return err
	}
	const full = 2
	if journal != "wal" || synchronous != full {
		return fmt.Errorf("SQLite works with journal_mode=%s and synchronous=%d where wal and %d are needed; "+
			"is the file on a network file system?", journal, synchronous, full)
	}
	return nil
}

// Close closes all connections.
func (f *File) Close() error {
	var err error
	if f.Lookups != nil {
		err = f.Lookups.close()
	}
	// The writer last: the last connection that may write brings the WAL back into the file.
	for _, pool := range []*sql.DB{f.Readers, f.Writer} {
		if pool != nil {
			err = errors.Join(err, pool.Close())
		}
	}
	if err != nil {
		return fmt.Errorf("closing the SQLite store: %w", err)
	}
	return nil
}
