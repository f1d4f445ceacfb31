package connection

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// renewal closes the pool's connections when one of them answers that the server is read-only or has ended the session. A
// connection stays so as long as it lasts: after a failover its server stays a standby, and a setting of the database is read
// when a connection is opened. New ones find the new primary, if the URL names it
// (target_session_attrs=read-write).
type renewal struct {
	pool atomic.Pointer[pgxpool.Pool]
	last atomic.Int64 // when, in nanoseconds
}

// renewalPause bounds how often connections are renewed while a database stays read-only.
const renewalPause = time.Second

// watch makes connections of config report such answers.
func (r *renewal) watch(config *pgconn.Config) {
	next := config.OnPgError
	config.OnPgError = func(conn *pgconn.PgConn, refused *pgconn.PgError) bool {
		if refused.Code == readOnlyTransaction || strings.HasPrefix(refused.Code, classOperator) {
			r.renew(time.Now())
		}
		return next(conn, refused)
	}
}

func (r *renewal) renew(now time.Time) {
	last := r.last.Load()
	pool := r.pool.Load()
	if pool == nil || now.UnixNano()-last < int64(renewalPause) || !r.last.CompareAndSwap(last, now.UnixNano()) {
		return
	}
	pool.Reset()
}
