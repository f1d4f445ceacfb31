package announce

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"

	"gatehouse/server/admission"
)

// maxAttempts is River's count of attempts that ended without a word: the
// process was killed. Failed deliveries do not count; Retry bounds those.
const maxAttempts = 1000

// Outbox puts events into the queue. It needs no connection of its own, so that
// a store can be opened with it. It is safe for concurrent use.
type Outbox[TTx any] struct {
	driver riverdriver.Driver[TTx]
	config river.Config
	sinks  SinkConfigs
}

// NewPostgresOutbox makes the outbox of a ledger on Postgres. sinks are the names
// of the sinks that get every event; without any, nothing is announced.
func NewPostgresOutbox(sinks ...string) (*Outbox[pgx.Tx], error) {
	return NewPostgresOutboxFor(named(sinks))
}

// NewSQLiteOutbox makes the outbox of a ledger on SQLite.
func NewSQLiteOutbox(sinks ...string) (*Outbox[*sql.Tx], error) {
	return NewSQLiteOutboxFor(named(sinks))
}

// NewPostgresOutboxFor is NewPostgresOutbox for sinks that get those events only
// that they are configured to get.
func NewPostgresOutboxFor(sinks SinkConfigs) (*Outbox[pgx.Tx], error) {
	return newOutbox(riverpgxv5.New(nil), postgresSchema, sinks)
}

// NewSQLiteOutboxFor is NewPostgresOutboxFor for a ledger on SQLite.
func NewSQLiteOutboxFor(sinks SinkConfigs) (*Outbox[*sql.Tx], error) {
	return newOutbox(riversqlite.New(nil), "", sinks)
}

func named(sinks []string) SinkConfigs {
	configs := make(SinkConfigs, len(sinks))
	for i, name := range sinks {
		configs[i].Name = name
	}
	return configs
}

func newOutbox[TTx any](driver riverdriver.Driver[TTx], schema string, sinks SinkConfigs) (*Outbox[TTx], error) {
	err := checkSinkNames(sinks.Names())
	if err != nil {
		return nil, err
	}
	outbox := &Outbox[TTx]{
		driver: driver,
		// Errors come back to the caller, who logs them.
		config: river.Config{Schema: schema, ID: "outbox", Logger: slog.New(slog.DiscardHandler)},
		sinks:  sinks,
	}
	_, err = outbox.client()
	if err != nil {
		return nil, err
	}
	return outbox, nil
}

// client is a new one for every transaction: a client wakes the workers once per
// queue and FetchCooldown, whether or not the transaction that carried the call
// is committed, or is committed last. With a client that is shared, the others'
// jobs would wait for the next poll.
func (o *Outbox[TTx]) client() (*river.Client[TTx], error) {
	client, err := river.NewClient(o.driver, &o.config)
	if err != nil {
		return nil, fmt.Errorf("opening the outbox: %w", err)
	}
	return client, nil
}

// Announce adds event to the caller's transaction, for every sink that wants it.
// If it fails, the transaction must not be committed.
func (o *Outbox[TTx]) Announce(ctx context.Context, tx TTx, event admission.Event) error {
	var wanting []string
	for _, sink := range o.sinks {
		if sink.wants(event) {
			wanting = append(wanting, sink.Name)
		}
	}
	if len(wanting) == 0 {
		return nil
	}
	jobs, err := newJobs(event, wanting)
	if err != nil {
		return err
	}
	inserts := make([]river.InsertManyParams, len(jobs))
	for i, job := range jobs {
		inserts[i] = river.InsertManyParams{
			Args:       job,
			InsertOpts: &river.InsertOpts{Queue: queueOf(job.Sink), MaxAttempts: maxAttempts},
		}
	}
	client, err := o.client()
	if err != nil {
		return err
	}
	_, err = client.InsertManyTx(ctx, tx, inserts)
	if err != nil {
		return fmt.Errorf("putting event %s into the outbox: %w", event.ID, err)
	}
	return nil
}
