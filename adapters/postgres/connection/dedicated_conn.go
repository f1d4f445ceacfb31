package connection

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
)

// Dedicated opens a connection beside the pool, for work that holds one for long: reviews need those of the pool. The connection
// ends with its context, and so does a statement on it.
func (p *Pool) Dedicated(ctx context.Context) (*pgx.Conn, error) {
	config, err := p.ConnConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	// While waiting for what others do there is no statement to be cancelled, only the wait.
	config.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.DeadlineContextWatcherHandler{Conn: c.Conn()}
	}
	// The server finds out by itself when we are gone without a word, and gives up what was locked.
	config.RuntimeParams["tcp_keepalives_idle"] = "30"
	config.RuntimeParams["tcp_keepalives_interval"] = "10"
	config.RuntimeParams["tcp_keepalives_count"] = "3"
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	return conn, nil
}

// CloseDedicated closes conn even if ctx has ended.
func CloseDedicated(ctx context.Context, conn *pgx.Conn) {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), pingTimeout)
	defer cancel()
	_ = conn.Close(limited) // its work is done or lost already
}
