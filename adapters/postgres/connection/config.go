package connection

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	connectTimeout = 5 * time.Second

	// cancelPatience is how long a connection may take to end a statement whose context has ended, before it
	// is thrown away. The driver waits another 100 ms so that the cancel request cannot hit a later statement,
	// and a busy machine takes its share.
	cancelPatience = 100 * time.Millisecond
	giveUpBefore   = cancelPatience + 150*time.Millisecond
)

func poolConfig(options Options) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(options.URL)
	if err != nil {
		return nil, urlError(err)
	}
	config.BeforeConnect = freshLogin(options.URL, options.Logger)
	if options.MaxConns > 0 {
		config.MaxConns = options.MaxConns
	}

	// Connections stand ready: half a second, a review's deadline for facts, is no time to open sixteen at once.
	config.MinConns = config.MaxConns

	conn := config.ConnConfig
	if conn.ConnectTimeout == 0 {
		conn.ConnectTimeout = connectTimeout
	}
	timeout := cmp.Or(options.Timeout, defaultTimeout)
	conn.RuntimeParams["statement_timeout"] = milliseconds(timeout)
	// A lock that is not to be had is the server's answer a little before the request ends, so that the answer says so.
	conn.RuntimeParams["lock_timeout"] = milliseconds(timeout * 3 / 4)
	conn.RuntimeParams["idle_in_transaction_session_timeout"] = milliseconds(timeout)
	setApplication(&conn.Config)
	setDurability(&conn.Config)

	// The default throws a connection away with every deadline that it meets. A database that has become slow
	// would have to make a new process for each, on top of what made it slow.
	conn.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: c, DeadlineDelay: cancelPatience}
	}
	return config, nil
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

func setApplication(config *pgconn.Config) {
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "gatehouse"
	}
}

// setDurability makes a commit durable before it returns, whatever the server's default is: what was answered
// must survive a crash. Waiting for the standbys as well is the one other setting that keeps this promise.
func setDurability(config *pgconn.Config) {
	const parameter = "synchronous_commit"
	if config.RuntimeParams[parameter] != "remote_apply" {
		config.RuntimeParams[parameter] = "on"
	}
}

// BeforeDeadline ends a little before ctx does, so that what has to be cancelled is cancelled, and the error
// returned, within the caller's deadline.
func BeforeDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, limited := ctx.Deadline()
	if !limited {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, deadline.Add(-min(giveUpBefore, time.Until(deadline)/5)))
}

// Explain adds to err that the context ended, if so: the server's own answer to a cancel request is an error
// of a statement, in which nobody would recognise a deadline.
func Explain(ctx context.Context, err error) error {
	if ctx.Err() == nil || errors.Is(err, ctx.Err()) {
		return err
	}
	return fmt.Errorf("%w: %w", ctx.Err(), err)
}

// urlError says what can be wrong with a URL and repeats nothing of it: where it is malformed, a password can be anywhere
// in it. Files that it names and that cannot be read are named.
func urlError(err error) error {
	var file *fs.PathError
	if errors.As(err, &file) {
		return fmt.Errorf("reading a file that the database URL names: %w", file)
	}
	return errors.New("the database URL is not postgres://user:password@host:port/database?option=value " +
		"(escape special characters in the password, such as % as %25)")
}
