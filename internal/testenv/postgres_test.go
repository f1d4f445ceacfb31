package testenv

import (
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

func connect(t *testing.T, address string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	require.NoError(t, err)
	// A test's context is done before its cleanup, and a broken connection is
	// what some tests are about.
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	return conn
}

func setting(t *testing.T, conn *pgx.Conn, name string) string {
	t.Helper()
	var value string
	require.NoError(t, conn.QueryRow(t.Context(), "select current_setting($1)", name).Scan(&value))
	return value
}

func TestPostgresComesBackWithItsDataAfterACrash(t *testing.T) {
	ctx := t.Context()
	server := OwnPostgres(t, Options{})
	address, err := server.CreateDatabase(ctx, RegistryCurrent)
	require.NoError(t, err)
	conn := connect(t, address)
	require.Equal(t, "off", setting(t, conn, "fsync"))
	_, err = conn.Exec(ctx, "insert into workspaces (name, kind) values ('concierge', 'platform')")
	require.NoError(t, err)

	require.NoError(t, server.Stop(Immediate))
	_, err = conn.Exec(ctx, "select 1")
	require.Error(t, err)
	_, err = pgx.Connect(ctx, address)
	require.Error(t, err)
	require.NoError(t, server.Start(ctx))

	var name string
	require.NoError(t, connect(t, address).QueryRow(ctx, "select name from workspaces").Scan(&name))
	require.Equal(t, "concierge", name)
}

func TestPostgresStopsFastAndRepeatedCallsChangeNothing(t *testing.T) {
	ctx := t.Context()
	server := OwnPostgres(t, Options{Durable: true})

	require.NoError(t, server.Start(ctx))
	require.NoError(t, server.Stop(Fast))
	require.NoError(t, server.Stop(Fast))
	require.NoError(t, server.Start(ctx))

	conn := connect(t, server.URL("postgres"))
	require.Equal(t, "on", setting(t, conn, "fsync"))
	require.Equal(t, "on", setting(t, conn, "full_page_writes"))
	require.Equal(t, loopback, setting(t, conn, "listen_addresses"))
}

func TestCloseLeavesNothing(t *testing.T) {
	server, err := StartPostgres(t.Context(), Options{})
	require.NoError(t, err)
	require.DirExists(t, server.scratch.path)

	require.NoError(t, server.Close())

	require.NoDirExists(t, server.scratch.path)
	_, err = pgx.Connect(t.Context(), server.URL("postgres"))
	require.Error(t, err)
}

func TestFailedStartShowsTheServersLog(t *testing.T) {
	server := OwnPostgres(t, Options{})
	require.NoError(t, server.Stop(Fast))
	require.NoError(t, os.Remove(server.scratch.file(dataFolder+"/PG_VERSION")))

	err := server.Start(t.Context())

	require.ErrorIs(t, err, errEnded)
	require.ErrorContains(t, err, "starting PostgreSQL: ")
	require.ErrorContains(t, err, "is not a valid data directory")
}
