package connection

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"time"

	sqlite "modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"
)

// Connection is the driver's, with prepared statements of its own for what every review asks. They bypass database/sql: it and the
// driver each start a goroutine for a statement whose context can end, which costs as much as the statement.
type Connection struct {
	driverConnection
	prepared map[string]PreparedStatement
	// busy is how long a transaction waits for another process's. 0 for a connection that never writes.
	busy    time.Duration
	hurried bool // it waits for hurry only
}

// driverConnection is all that database/sql looks for in a connection of this driver.
type driverConnection interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.Pinger
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
}

// PreparedStatement is one of a connection's own.
type PreparedStatement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// connector makes connections of ours.
type connector struct {
	driver.Connector
	busy time.Duration // of connections that write
}

func newConnector(dsn string, busy time.Duration) (connector, error) {
	made, err := sqlite.NewConnector(dsn)
	return connector{made, busy}, err
}

// Connect is what database/sql calls.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) { return c.open(ctx) }

func (c connector) open(ctx context.Context) (*Connection, error) {
	made, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	complete, ok := made.(driverConnection)
	if !ok {
		return nil, errors.Join(fmt.Errorf("the SQLite driver gives a %T, which lacks methods", made), made.Close())
	}
	return &Connection{driverConnection: complete, prepared: make(map[string]PreparedStatement), busy: c.busy}, nil
}

// OnConnection lends a connection of a pool to do, once there is one.
func OnConnection(ctx context.Context, pool *sql.DB, do func(*Connection) error) error {
	held, err := pool.Conn(ctx)
	if err != nil {
		return err
	}
	err = held.Raw(func(raw any) error {
		c, ok := raw.(*Connection)
		if !ok {
			return fmt.Errorf("the pool has a %T, which it did not open", raw)
		}
		return do(c)
	})
	return errors.Join(err, held.Close())
}

// Close ends its statements first: with one left, SQLite would keep the connection and its locks.
func (c *Connection) Close() error {
	var all []error
	for _, statement := range c.prepared {
		all = append(all, statement.Close())
	}
	clear(c.prepared)
	return errors.Join(append(all, c.driverConnection.Close())...)
}

// Statement prepares a query at its first use: when the store is opened, the tables may not be there yet.
func (c *Connection) Statement(ctx context.Context, query string) (PreparedStatement, error) {
	statement, ok := c.prepared[query]
	if ok {
		return statement, nil
	}
	made, err := c.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	statement, ok = made.(PreparedStatement)
	if !ok {
		return nil, errors.Join(fmt.Errorf("the SQLite driver gives a %T, which lacks methods", made), made.Close())
	}
	c.prepared[query] = statement
	return statement, nil
}

const (
	// A transaction that reads first and then writes could not wait for another process, it would fail.
	beginSQL    = `begin immediate`
	commitSQL   = `commit`
	rollbackSQL = `rollback`
)

// InTransaction commits what do does, or nothing of it. It waits for another process's transaction as long as the
// busy timeout says; once it has begun, nothing in it waits, so nothing in it is interrupted.
func (c *Connection) InTransaction(ctx context.Context, do func(context.Context) error) error {
	whole := context.WithoutCancel(ctx)
	err := c.adapt(whole, c.Run(whole, beginSQL))
	if err != nil {
		return err
	}
	err = ctx.Err()
	if err == nil {
		err = do(whole)
	}
	if err == nil {
		err = c.Run(whole, commitSQL)
	}
	if err != nil {
		// After some errors SQLite has rolled back by itself.
		return errors.Join(err, c.Run(whole, rollbackSQL))
	}
	return nil
}

// BeginTx is what database/sql calls.
func (c *Connection) BeginTx(ctx context.Context, options driver.TxOptions) (driver.Tx, error) {
	tx, err := c.driverConnection.BeginTx(ctx, options)
	return tx, c.adapt(context.WithoutCancel(ctx), err)
}

// hurry is how long a transaction waits while the file is known to be locked.
const hurry = 100 * time.Millisecond

// adapt sets how long the next transaction waits for another process: less after this one waited in vain. All writes share one
// connection, one after the other. If each waited as long as the first, all would miss their deadlines and none would get the
// reason.
func (c *Connection) adapt(ctx context.Context, begun error) error {
	locked := CodeOf(begun)&primary == codes.SQLITE_BUSY
	if c.busy <= hurry || locked == c.hurried || begun != nil && !locked {
		return begun
	}
	patience := c.busy
	if locked {
		patience = hurry
	}
	err := c.Run(ctx, fmt.Sprintf("pragma busy_timeout = %d", patience.Milliseconds()))
	if err == nil {
		c.hurried = locked
	}
	return begun
}

// Run executes a statement without arguments.
func (c *Connection) Run(ctx context.Context, query string) error {
	statement, err := c.Statement(ctx, query)
	if err != nil {
		return err
	}
	_, err = statement.ExecContext(ctx, nil)
	return err
}

// Arguments are what the driver takes: integers of 64 bits, texts, truths, bytes and nil.
func Arguments(all []any) []driver.NamedValue {
	values := make([]driver.NamedValue, len(all))
	for i, each := range all {
		values[i] = driver.NamedValue{Ordinal: i + 1, Value: each}
	}
	return values
}

// DriverRows are the rows of a connection's own statement, read as those of database/sql are.
type DriverRows struct {
	driver.Rows
	values []driver.Value
	err    error
}

func (r *DriverRows) Columns() ([]string, error) { return r.Rows.Columns(), nil }

func (r *DriverRows) Next() bool {
	if r.values == nil {
		r.values = make([]driver.Value, len(r.Rows.Columns()))
	}
	r.err = r.Rows.Next(r.values)
	return r.err == nil
}

func (r *DriverRows) Err() error {
	if errors.Is(r.err, io.EOF) {
		return nil
	}
	return r.err
}

// Scan gives each value to a place of its own, all of which are scanners.
func (r *DriverRows) Scan(places ...any) error {
	for i, place := range places {
		scanner, ok := place.(sql.Scanner)
		if !ok {
			return fmt.Errorf("a %T takes no value of the driver", place)
		}
		err := scanner.Scan(r.values[i])
		if err != nil {
			return fmt.Errorf("column %q: %w", r.Rows.Columns()[i], err)
		}
	}
	return nil
}
