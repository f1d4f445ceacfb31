// Package sqlite keeps workspaces, facts, decisions and events in one embedded SQLite file: the store that
// needs no setup, for a registry whose database is not shared. The registry tells it of its workspaces
// through PutWorkspace and PutSecretKey; it implements admission.FactsReader and admission.Ledger.
//
// What was answered survives kill -9 and loss of power: the file is in WAL mode with synchronous=FULL, so a
// commit returns once the disk has it. That costs one sync a commit, and decisions that are recorded at the
// same time share one.
//
// It does not keep values of secrets, it does not send events (an Outbox does), and it does not work in
// memory. Several processes may open one file; one of them writes at a time.
package sqlite

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

	"github.com/molecule-ai/gatehouse/internal/groupcommit"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// Outbox hands events on. Announce is called inside the transaction that writes the event, and what it keeps
// for later it writes through tx: the event goes out if and only if the transaction commits.
type Outbox interface {
	Announce(ctx context.Context, tx *sql.Tx, events ...admission.Event) error
}

// Options of Open.
type Options struct {
	Path        string        // of the file; its folder is made if need be
	Outbox      Outbox        // nil: events are kept, and nobody is told
	FactsQuery  string        // replaces facts.sql, see there for its shape; "": facts.sql
	BusyTimeout time.Duration // how long to wait for another process's transaction; 0: one second
	Logger      *slog.Logger  // nil: nothing is logged
}

// defaultBusyTimeout is well inside the two seconds of a request, so that the error names the lock and not
// the deadline.
const defaultBusyTimeout = time.Second

// lookupTimeout is short, because most look-ups are not interrupted. A reader waits only for a process that recovers the
// WAL after another one died.
const lookupTimeout = 100 * time.Millisecond

// Store is an open file. It is safe for concurrent use. Its errors wrap ErrLocked where another process held
// the file for too long.
type Store struct {
	path   string
	file   fs.FileInfo // of path when it was opened
	outbox Outbox
	logger *slog.Logger

	// All writing goes over one connection: SQLite has one writer at a time anyway, and waiting in Go's
	// queue is fair and ends with the context, where SQLite's busy loop is neither.
	writer *sql.DB
	// readers cannot write (mode=ro), whatever an operator's facts query says, and wait for no writer.
	readers *sql.DB
	lookups *lookups // as readers

	factsQuery string
	ownFacts   bool // the facts query is an operator's

	records *groupcommit.Group[row, bool]
	events  signal
}

// Open opens the file, and makes it and its folder if they are not there: a folder for this user alone
// (0700), a file that only this user reads (0600), because decisions hold what registries sent. Rights of
// what is there already stay as they are. It does not migrate.
func Open(ctx context.Context, o Options) (*Store, error) {
	path, err := prepareFile(o.Path)
	if err != nil {
		return nil, fmt.Errorf("opening the SQLite store: %w", err)
	}
	busy := cmp.Or(o.BusyTimeout, defaultBusyTimeout)
	s := &Store{path: path, outbox: o.Outbox, logger: o.Logger,
		factsQuery: cmp.Or(o.FactsQuery, defaultFactsQuery), ownFacts: o.FactsQuery != ""}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	err = s.connect(busy)
	if err == nil {
		err = s.checkDurable(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the SQLite store %s: %w", path, explain(ctx, err)), s.Close())
	}
	s.file, err = os.Stat(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the SQLite store: %w", err), s.Close())
	}
	s.records = groupcommit.New(groupcommit.Options{Hopeless: isOfTheFile}, s.writeBatch)
	return s, nil
}

func (s *Store) connect(busy time.Duration) (err error) {
	size := max(4, runtime.GOMAXPROCS(0))
	s.writer, err = openPool(writerDSN(s.path, busy), 1, busy)
	if err != nil {
		return err
	}
	s.readers, err = openPool(readerDSN(s.path, busy), size, 0)
	if err != nil {
		return err
	}
	s.lookups, err = newLookups(readerDSN(s.path, min(busy, lookupTimeout)), size)
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

// checkDurable refuses a file on which the promise cannot be kept: SQLite leaves WAL mode out without an
// error where the file system cannot do it.
func (s *Store) checkDurable(ctx context.Context) error {
	var journal string
	var synchronous int
	err := s.writer.QueryRowContext(ctx, `select journal_mode, synchronous from pragma_journal_mode, pragma_synchronous`).
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

// Writer is the handle of the one writing connection, for River, whose SQLite driver wants exactly one. A
// caller that holds it holds up every decision.
func (s *Store) Writer() *sql.DB { return s.writer }

// Close waits for what is being written.
func (s *Store) Close() error {
	if s.records != nil {
		s.records.Close()
	}
	var err error
	if s.lookups != nil {
		err = s.lookups.close()
	}
	// The writer last: the last connection that may write brings the WAL back into the file.
	for _, pool := range []*sql.DB{s.readers, s.writer} {
		if pool != nil {
			err = errors.Join(err, pool.Close())
		}
	}
	if err != nil {
		return fmt.Errorf("closing the SQLite store: %w", err)
	}
	return nil
}
