// Package queue is where announcements wait for their sinks: tables of River (riverqueue.com) on Postgres or SQLite, with
// one of River's queues for each sink.
//
// It knows the names of queues, what a row tells of past attempts, and how a sink is disabled for all processes. It
// delivers nothing.
package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"

	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
)

// PostgresSchema is Gatehouse's own schema; adapters/postgres creates it.
const PostgresSchema = "gatehouse"

// Database is where the queue is. It does not own the connections it is given.
type Database[TTx any] struct {
	driver riverdriver.Driver[TTx]
	schema string
	// exclusively runs a migration while no other process runs one.
	exclusively func(ctx context.Context, migrate func(context.Context) error) error
	// trim is what Migrate runs after River's migrations.
	trim string
	// query hands each row of a result to scan.
	query      func(ctx context.Context, query string, scan func(scanner) error) error
	sinksQuery string
	touchSQL   string // fails where a job cannot be written, and writes none
}

// postgresTrim drops the indexes on arguments and metadata, which only River's user interface uses. They were half of what a
// deny costs the server.
const postgresTrim = `drop index if exists gatehouse.river_job_args_index, gatehouse.river_job_metadata_index`

type scanner interface{ Scan(into ...any) error }

// Postgres is a queue in the schema gatehouse.
func Postgres(pool *pgxpool.Pool) *Database[pgx.Tx] {
	return &Database[pgx.Tx]{
		driver:      riverpgxv5.New(pool),
		schema:      PostgresSchema,
		exclusively: advisoryLock{pool}.hold,
		trim:        postgresTrim,
		query: func(ctx context.Context, query string, scan func(scanner) error) error {
			rows, err := pool.Query(ctx, query)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				err = scan(rows)
				if err != nil {
					return err
				}
			}
			return rows.Err()
		},
		sinksQuery: postgresSinks,
		touchSQL:   postgresTouch,
	}
}

// SQLite is a queue in the file that db has open. db must allow one connection
// only: River writes from several goroutines, and SQLite takes one at a time.
func SQLite(db *sql.DB) *Database[*sql.Tx] {
	return &Database[*sql.Tx]{
		driver:      riversqlite.New(db),
		exclusively: untilNobodyInterferes,
		query: func(ctx context.Context, query string, scan func(scanner) error) (err error) {
			rows, err := db.QueryContext(ctx, query)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, rows.Close()) }()
			for rows.Next() {
				err = scan(rows)
				if err != nil {
					return err
				}
			}
			return rows.Err()
		},
		sinksQuery: sqliteSinks,
		touchSQL:   sqliteTouch,
	}
}

// River's states. Those of jobs that are not finished are listed, not excluded, so
// that its index of states serves.
const (
	unfinished = `'available', 'pending', 'retryable', 'running', 'scheduled'`
	givenUp    = `'cancelled', 'discarded'`
)

// A queue without a row may have jobs: before a server works it for the first time, and from a day after the last time. A
// queue with a row has no jobs most of the time. Hence the full join.
const (
	postgresSinks = `
with jobs as (
    select queue,
        count(*) filter (where state in (` + unfinished + `)) as pending,
        min(created_at) filter (where state in (` + unfinished + `)) as oldest,
        count(*) filter (where state in (` + givenUp + `)) as dead
    from gatehouse.river_job
    where state in (` + unfinished + `, ` + givenUp + `) and kind = '` + sinks.JobKind + `'
    group by queue
)
select coalesce(queue, name), coalesce(pending, 0), coalesce(extract(epoch from now() - oldest), 0)::float8,
    coalesce(dead, 0), paused_at is not null, coalesce(metadata ->> 'reason', '')
from jobs full join gatehouse.river_queue on queue = name
where coalesce(queue, name) like '` + queuePrefix + `%'
order by 1`

	sqliteSinks = `
with jobs as (
    select queue,
        count(*) filter (where state in (` + unfinished + `)) as pending,
        min(created_at) filter (where state in (` + unfinished + `)) as oldest,
        count(*) filter (where state in (` + givenUp + `)) as dead
    from river_job
    where state in (` + unfinished + `, ` + givenUp + `) and kind = '` + sinks.JobKind + `'
    group by queue
)
select coalesce(queue, name), coalesce(pending, 0), coalesce((julianday('now') - julianday(oldest)) * 86400, 0.0),
    coalesce(dead, 0), paused_at is not null, coalesce(metadata ->> 'reason', '')
from jobs full join river_queue on queue = name
where coalesce(queue, name) like '` + queuePrefix + `%'
order by 1`
)

const (
	postgresTouch = `
with job as (insert into gatehouse.river_job (args, kind, max_attempts) select '{}', '', 1 where false)
select 1`
	sqliteTouch = `insert into river_job (args, kind, max_attempts) select '{}', '', 1 where false`
)

// Ready says why no announcement can be put into the outbox, nil if one can.
func (d *Database[TTx]) Ready(ctx context.Context) error {
	err := d.query(ctx, d.touchSQL, func(scanner) error { return nil })
	if err != nil {
		return fmt.Errorf("trying to write an announcement: %w", err)
	}
	return nil
}

// Client makes a client of River for the queue.
func (d *Database[TTx]) Client(config river.Config) (*river.Client[TTx], error) {
	config.Schema = d.schema
	client, err := river.NewClient(d.driver, &config)
	if err != nil {
		return nil, fmt.Errorf("opening the queue: %w", err)
	}
	return client, nil
}

// SinkState is how a sink is doing.
type SinkState struct {
	Name string `json:"name"`
	// Configured is false for what a sink left behind that was renamed or removed.
	Configured    bool    `json:"configured"`
	Disabled      bool    `json:"disabled"`
	Reason        string  `json:"reason"` // why it is disabled
	Pending       int     `json:"pending"`
	OldestSeconds float64 `json:"oldest_seconds"` // age of the oldest that is pending
	Dead          int     `json:"dead"`
}

// SinkStates reads a row for every sink that has a queue or jobs.
func (d *Database[TTx]) SinkStates(ctx context.Context) ([]SinkState, error) {
	var states []SinkState
	err := d.query(ctx, d.sinksQuery, func(row scanner) error {
		var (
			state SinkState
			age   float64
		)
		err := row.Scan(&state.Name, &state.Pending, &age, &state.Dead, &state.Disabled, &state.Reason)
		state.Name = SinkOf(state.Name)
		state.OldestSeconds = seconds(age).Seconds()
		states = append(states, state)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("counting announcements of each sink: %w", err)
	}
	return states, nil
}

// seconds is never negative: the database's clock may differ from this one.
func seconds(number float64) time.Duration {
	return max(0, time.Duration(number*float64(time.Second)))
}
