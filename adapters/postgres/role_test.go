package postgres_test

import (
	"net/url"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"gatehouse/adapters/postgres"
	"gatehouse/internal/testenv"
)

// The role has one name on a whole server, hence a server of its own.
func TestTheDocumentedRoleCanServeAndCannotReadASecret(t *testing.T) {
	server := testenv.OwnPostgres(t, testenv.Options{})
	owner, err := server.CreateDatabase(t.Context(), testenv.RegistryCurrent)
	require.NoError(t, err)
	statements, err := os.ReadFile("../../deploy/postgres/role.sql")
	require.NoError(t, err)

	admin := newHarness(t, owner)
	for range 2 {
		admin.exec(t, string(statements))
	}
	admin.exec(t, "alter role gatehouse password 'gatehouse'; grant insert on outbox to gatehouse")
	admin.exec(t, "create table gatehouse.later (id bigint generated always as identity)")
	address, err := url.Parse(owner)
	require.NoError(t, err)
	address.User = url.UserPassword("gatehouse", "gatehouse")
	role := &harness{store: open(t, address.String(), func(o *postgres.Options) { o.Outbox = tableOutbox{} }), registry: admin.registry}
	id := admin.platformRow(t)

	require.NoError(t, role.store.Migrate(t.Context()), "where nothing is to be done it may migrate")
	require.NoError(t, role.store.Ready(t.Context()))
	_, err = role.store.Record(t.Context(), allowedDecision(t, id))
	require.NoError(t, err)
	marked, err := role.mark(t.Context(), t, deniedDecision(t, id))
	require.NoError(t, err)
	require.True(t, marked.MarkedFailed)
	failed, err := role.store.StillFailed(t.Context(), id)
	require.NoError(t, err)
	require.True(t, failed)
	_, err = role.store.Pool().Exec(t.Context(), "insert into gatehouse.later default values")
	require.NoError(t, err, "tables that come later are its own too")

	for _, forbidden := range []string{
		"select encrypted_value from workspace_secrets",
		"select encrypted_value from global_secrets",
		"select * from workspace_secrets",
		"insert into workspace_secrets (key) values ('MODEL')",
		"delete from workspace_secrets",
		"update workspaces set kind = 'workspace'",
		"delete from workspaces",
		"select payload from structure_events",
		"delete from structure_events",
		"create table gatehouse.mine ()",
		"create table mine ()",
	} {
		_, err := role.store.Pool().Exec(t.Context(), forbidden, pgx.QueryExecModeSimpleProtocol)
		var refused *pgconn.PgError
		require.ErrorAs(t, err, &refused, forbidden)
		require.Equal(t, "42501", refused.Code, forbidden)
	}
}
