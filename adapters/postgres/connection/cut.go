package connection

import (
	"context"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// closePatience is how long a pool may take to close its connections in order.
const closePatience = time.Second

// cutter ends the connections of a pool that does not close by itself. A pool waits for connections that it is opening. A server
// that accepts them and then says nothing keeps it waiting for as long as the URL allows, once for each way to connect.
type cutter struct {
	cutting context.Context //nolint:containedctx // it ends with the store and with no call
	cut     context.CancelFunc
}

func newCutter() cutter {
	ctx, cut := context.WithCancel(context.Background())
	return cutter{ctx, cut}
}

// watch has config dial connections that can be cut.
func (c cutter) watch(config *pgconn.Config) {
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &cutConn{conn, context.AfterFunc(c.cutting, func() { _ = conn.Close() })}, nil
	}
}

// close closes pool within closePatience.
func (c cutter) close(pool *pgxpool.Pool) {
	timer := time.AfterFunc(closePatience, c.cut)
	pool.Close()
	timer.Stop()
	c.cut()
}

type cutConn struct {
	net.Conn
	forget func() bool
}

func (c *cutConn) Close() error {
	c.forget()
	return c.Conn.Close()
}
