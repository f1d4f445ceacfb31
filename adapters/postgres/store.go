// Package postgres keeps Gatehouse's facts and decisions in the registry's own Postgres database.
//
// It reads the registry's tables for facts, and marks a workspace failed in them. What is Gatehouse's own
// (decisions, the uids of requests, the ledger of outgoing events) is in the schema gatehouse. It never
// migrates the registry's tables, never reads the value of a secret, and sends no event out: an Outbox takes
// events along in the marking transaction.
package postgres

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/molecule-ai/gatehouse/adapters/postgres/connection"
	"github.com/molecule-ai/gatehouse/adapters/postgres/history"
	"github.com/molecule-ai/gatehouse/internal/groupcommit"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/audit"
)

// Outbox takes events along in the transaction that makes them, so that they are announced if and only if the
// transaction commits. It asks each tx for one Query or one Exec at most, which goes to the server together with the
// commit.
type Outbox interface {
	Announce(ctx context.Context, tx pgx.Tx, events ...admission.Event) error
	// Wake tells who sends them out, in a transaction of its own after that one.
	Wake(ctx context.Context, tx pgx.Tx) error
}

// Options of a Store. Only URL is required.
type Options struct {
	URL      string // postgres://…, or keywords and values
	MaxConns int32  // of the pool; 0 leaves it to the URL (pool_max_conns) or to the driver
	// FactsQuery replaces the query of facts.sql, which says what such a query must give.
	FactsQuery string
	// Outbox may be nil: then events are kept in the ledger and told in answers only.
	Outbox Outbox
	// Timeout is how long the server keeps on with a statement, a wait for a lock or an idle transaction of
	// ours, should we be gone without telling it: 2 s by default, as a whole request has.
	Timeout time.Duration
	Logger  *slog.Logger // nil for none
}

// Store is the facts reader and the ledger on one pool of connections. It is safe for concurrent use, and
// finds its way back by itself when the database was away.
type Store struct {
	history.History

	pool       *connection.Pool
	factsQuery string
	factsMany  string // the same for many workspaces; "" if an operator's own query has to be asked for one at a time
	outbox     Outbox
	logger     *slog.Logger
	records    *groupcommit.Group[admission.Decision, admission.Decision]
	lookups    *groupcommit.Group[uuid.UUID, lookup]
	uids       *groupcommit.Group[admission.RequestKey, bool]
	marks      *groupcommit.Group[*marking, marked]
	marking    workspaceLock
	wakeUp     *wakeUp
}

var (
	_ admission.FactsReader = (*Store)(nil)
	_ admission.Ledger      = (*Store)(nil)
)

const (
	// A batch costs the server as much as several rows, and two batches at a time are half as large. So one runs at a time, and
	// the others start only when it is stuck: behind a lock, or because its connection hangs.
	flushers = 4
	overtake = 10 * time.Millisecond

	maxRecords = 256
	maxLookups = 128
	// maxMarks bounds how long the rows of one transaction stay locked.
	maxMarks = 64
)

// Open makes a store. It does not connect: a server that is down now may be up when the first request comes,
// and until then Ready says so.
func Open(ctx context.Context, options Options) (*Store, error) {
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	pool, err := connection.Open(ctx, connection.Options{
		URL: options.URL, MaxConns: options.MaxConns, Timeout: options.Timeout, Logger: options.Logger,
	})
	if err != nil {
		return nil, err
	}
	s := &Store{
		History:    history.New(pool),
		pool:       pool,
		factsQuery: cmp.Or(options.FactsQuery, defaultFactsQuery),
		outbox:     options.Outbox,
		logger:     options.Logger,
	}
	if s.factsQuery == defaultFactsQuery {
		s.factsMany = factsManySQL
	}
	sharing := func(most int) groupcommit.Options {
		return groupcommit.Options{Flushers: flushers, Overtake: overtake, MaxBatch: most, Hopeless: connection.IsOfTheDatabase}
	}
	s.records = groupcommit.New(sharing(maxRecords), s.recordBatch)
	s.lookups = groupcommit.New(sharing(maxLookups), s.factsBatch)
	s.uids = groupcommit.New(sharing(maxLookups), s.answeredBatch)
	s.wakeUp = newWakeUp(s)
	s.marks = groupcommit.New(sharing(maxMarks), s.markBatch)
	return s, nil
}

// Pool is for the outbox, which works on the same database, and for metrics. Close closes it.
func (s *Store) Pool() *pgxpool.Pool { return s.pool.Pool }

// Exclusive gives one process of all on this database the right to do what name says. held is false if another process has
// it. The right lasts as long as a connection of its own: lost is closed when that connection is lost. ctx bounds the
// asking, not the right.
func (s *Store) Exclusive(ctx context.Context, name string) (release func(), lost <-chan struct{}, held bool, err error) {
	return s.pool.Exclusive(ctx, name)
}

// FactsRevision names the query that gives the facts.
func (s *Store) FactsRevision() string { return audit.FactsRevision(s.factsQuery) }

// ListenEvents calls wake whenever events may have been committed, by whatever process, until ctx ends. wake must not block.
func (s *Store) ListenEvents(ctx context.Context, wake func()) {
	s.pool.Listen(ctx, eventsChannel, wake)
}

// Close writes the queued records, waits until all connections are given back, and closes the pool.
func (s *Store) Close() {
	s.uids.Close()
	s.lookups.Close()
	s.marks.Close()
	s.wakeUp.close()
	s.records.Close()
	s.pool.Close()
}
