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
	"fmt"
	"log/slog"
	"time"

	"github.com/molecule-ai/gatehouse/adapters/sqlite/connection"
	"github.com/molecule-ai/gatehouse/adapters/sqlite/history"
	"github.com/molecule-ai/gatehouse/internal/groupcommit"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/audit"
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

// ErrLocked says that another process had the file locked for longer than the busy timeout.
var ErrLocked = connection.ErrLocked

// Store is an open file. It is safe for concurrent use. Its errors wrap ErrLocked where another process held
// the file for too long.
type Store struct {
	history.History

	file   *connection.File
	outbox Outbox
	logger *slog.Logger

	factsQuery string
	ownFacts   bool // the facts query is an operator's

	records *groupcommit.Group[row, bool]
	events  signal
}

// Open opens the file, and makes it and its folder if they are not there: a folder for this user alone
// (0700), a file that only this user reads (0600), because decisions hold what registries sent. Rights of
// what is there already stay as they are. It does not migrate.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	file, err := connection.Open(ctx, o.Path, o.BusyTimeout, o.Logger)
	if err != nil {
		return nil, fmt.Errorf("opening the SQLite store: %w", err)
	}
	s := &Store{
		History: history.New(file), file: file, outbox: o.Outbox, logger: o.Logger,
		factsQuery: cmp.Or(o.FactsQuery, defaultFactsQuery), ownFacts: o.FactsQuery != "",
	}
	s.records = groupcommit.New(groupcommit.Options{Hopeless: connection.IsUnavailable}, s.writeBatch)
	return s, nil
}

// Writer is the handle of the one writing connection, for River, whose SQLite driver wants exactly one. A
// caller that holds it holds up every decision.
func (s *Store) Writer() *sql.DB { return s.file.Writer }

// Exclusive gives one store of all on this file, in any process, the right to do what name says. held is false, at once, if another
// has it. lost is nil and never fires. The right does not end with ctx, nor with the store. release may be called
// twice.
func (s *Store) Exclusive(ctx context.Context, name string) (release func(), lost <-chan struct{}, held bool, err error) {
	return s.file.Exclusive(ctx, name)
}

// FactsRevision names the query that gives the facts.
func (s *Store) FactsRevision() string { return audit.FactsRevision(s.factsQuery) }

// Close waits for what is being written.
func (s *Store) Close() error {
	s.records.Close()
	return s.file.Close()
}
