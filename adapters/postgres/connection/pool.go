// Package connection connects to Postgres: the pool with the settings that Gatehouse's promises need, connections beside
// the pool for what holds one for long, and what an error of the database means. It knows no table.
package connection

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Options of a Pool.
type Options struct {
	URL      string        // postgres://…, or keywords and values
	MaxConns int32         // 0 leaves it to the URL (pool_max_conns) or to the driver
	Timeout  time.Duration // of a statement, a wait for a lock and an idle transaction, kept by the server; 0: 2 s
	Logger   *slog.Logger
}

const defaultTimeout = 2 * time.Second

// Pool is a pool of connections that finds its way back by itself when the database was away.
type Pool struct {
	*pgxpool.Pool
	logger *slog.Logger
	cutter cutter
}

// Open makes a pool. It does not wait for a connection.
func Open(ctx context.Context, options Options) (*Pool, error) {
	config, err := poolConfig(options)
	if err != nil {
		return nil, err
	}
	renewed := &renewal{}
	renewed.watch(&config.ConnConfig.Config)
	cutter := newCutter()
	cutter.watch(&config.ConnConfig.Config)
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("making the pool of database connections: %w", err)
	}
	renewed.pool.Store(pool)
	return &Pool{Pool: pool, logger: options.Logger, cutter: cutter}, nil
}

// Close closes the pool once all of its connections are given back.
func (p *Pool) Close() { p.cutter.close(p.Pool) }
