package announce

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
)

// postgresSchema is Gatehouse's own schema; adapters/postgres creates it.
const postgresSchema = "gatehouse"

// Database is where the queue is. It does not own the connections it is given.
type Database[TTx any] struct {
	driver riverdriver.Driver[TTx]
	schema string
	// exclusively runs a migration while no other process runs one.
	exclusively func(ctx context.Context, migrate func(context.Context) error) error
	queryRow    func(ctx context.Context, query string) scanner
	statsQuery  string
}

type scanner interface{ Scan(into ...any) error }

// Postgres is a queue in the schema gatehouse.
func Postgres(pool *pgxpool.Pool) *Database[pgx.Tx] {
	return &Database[pgx.Tx]{
		driver:      riverpgxv5.New(pool),
		schema:      postgresSchema,
		exclusively: advisoryLock{pool.Config().ConnConfig}.hold,
		queryRow:    func(ctx context.Context, query string) scanner { return pool.QueryRow(ctx, query) },
		statsQuery:  postgresStats,
	}
}

// SQLite is a queue in the file that db has open. db must allow one connection
// only: River writes from several goroutines, and SQLite takes one at a time.
func SQLite(db *sql.DB) *Database[*sql.Tx] {
	return &Database[*sql.Tx]{
		driver:      riversqlite.New(db),
		exclusively: untilNobodyInterferes,
		queryRow:    func(ctx context.Context, query string) scanner { return db.QueryRowContext(ctx, query) },
		statsQuery:  sqliteStats,
	}
}

// The states are those of jobs that are not finished; they are listed, not
// excluded, so that River's index of states serves.
const (
	postgresStats = `
select count(*), coalesce(extract(epoch from now() - min(created_at)), 0)::float8
from gatehouse.river_job
where state in ('available', 'pending', 'retryable', 'running', 'scheduled') and kind = '` + kind + `'`

	sqliteStats = `
select count(*), coalesce((julianday('now') - julianday(min(created_at))) * 86400, 0.0)
from river_job
where state in ('available', 'pending', 'retryable', 'running', 'scheduled') and kind = '` + kind + `'`
)

// Stats says how many announcements are neither delivered nor dead, and how long
// ago the oldest of them was made.
func (d *Database[TTx]) Stats(ctx context.Context) (pending int, oldest time.Duration, err error) {
	var seconds float64
	err = d.queryRow(ctx, d.statsQuery).Scan(&pending, &seconds)
	if err != nil {
		return 0, 0, fmt.Errorf("counting pending announcements: %w", err)
	}
	return pending, max(0, time.Duration(seconds*float64(time.Second))), nil
}
