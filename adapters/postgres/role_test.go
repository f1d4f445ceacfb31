package postgres_test

import (
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/postgres"
	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/server/audit"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// The role has one name on a whole server, hence a server of its own.
func TestDocumentedRoleServesAndCannotReadASecret(t *testing.T) {
	t.Parallel()
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
	require.NoError(t, role.store.FactsReady(t.Context()))
	require.NoError(t, role.store.LedgerReady(t.Context(), true))
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

	admin.exec(t, "alter table gatehouse.decisions detach partition gatehouse.decisions_before")
	old := time.Now().AddDate(0, 0, -40)
	admin.exec(t, "select gatehouse.create_decision_partition($1)", old)
	for _, at := range []time.Time{old, old.AddDate(0, 0, -1)} { // the second has no partition of its own
		_, err = role.store.Record(t.Context(), decisionOf(t, at))
		require.NoError(t, err)
	}
	pruned, err := role.store.PruneDecisions(t.Context(), time.Now(), time.Now().AddDate(0, 0, -30))
	require.NoError(t, err)
	require.Equal(t, ledger.Pruned{Decisions: 1, Partitions: []string{partitionOf(old)}}, pruned)
	require.Contains(t, role.partitions(t), partitionOf(time.Now().AddDate(0, 0, 7)))
	require.NoError(t, role.store.SaveAudit(t.Context(), audit.Run{ID: uuid.New()}, nil))

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
		"drop table gatehouse.decisions",
		"drop table gatehouse.decisions_default",
		"select gatehouse.create_decision_partition(now() + interval '20 days')",
	} {
		_, err := role.store.Pool().Exec(t.Context(), forbidden, pgx.QueryExecModeSimpleProtocol)
		var refused *pgconn.PgError
		require.ErrorAs(t, err, &refused, forbidden)
		require.Equal(t, "42501", refused.Code, forbidden)
	}
}

// Readiness asks for each right that a review needs.
func TestLedgerIsNotReadyWithoutARight(t *testing.T) {
	t.Parallel()
	server := testenv.OwnPostgres(t, testenv.Options{})
	owner, err := server.CreateDatabase(t.Context(), testenv.RegistryCurrent)
	require.NoError(t, err)
	statements, err := os.ReadFile("../../deploy/postgres/role.sql")
	require.NoError(t, err)
	admin := newHarness(t, owner)
	admin.exec(t, string(statements))
	admin.exec(t, "alter role gatehouse password 'gatehouse'")
	address, err := url.Parse(owner)
	require.NoError(t, err)
	address.User = url.UserPassword("gatehouse", "gatehouse")
	store := open(t, address.String())
	require.NoError(t, store.LedgerReady(t.Context(), false))

	for _, right := range []string{
		"insert on gatehouse.decisions", "insert on gatehouse.request_uids", "insert on gatehouse.events",
		"update (status) on workspaces", "insert (payload) on structure_events",
	} {
		admin.exec(t, "revoke "+right+" from gatehouse")
		requireUnavailable(t, store.LedgerReady(t.Context(), false), "the database role may not write what it has to")
		admin.exec(t, "grant "+right+" to gatehouse")
		require.NoError(t, store.LedgerReady(t.Context(), false), right)
	}
}

func TestPartitionsAreDroppedByTheirOwnerOnly(t *testing.T) {
	t.Parallel()
	server := testenv.OwnPostgres(t, testenv.Options{})
	owner, err := server.CreateDatabase(t.Context(), testenv.RegistryCurrent)
	require.NoError(t, err)
	h := newHarness(t, owner)
	h.exec(t, "create role stranger login password 'stranger'")
	h.exec(t, "grant usage on schema gatehouse to stranger")
	address, err := url.Parse(owner)
	require.NoError(t, err)
	address.User = url.UserPassword("stranger", "stranger")
	stranger := open(t, address.String())

	for _, forbidden := range []string{
		"select gatehouse.drop_decisions('2020-01-01')", "select gatehouse.extend_decisions(now())",
		"select gatehouse.create_decision_partition(now())",
	} {
		_, err := stranger.Pool().Exec(t.Context(), forbidden, pgx.QueryExecModeSimpleProtocol)
		var refused *pgconn.PgError
		require.ErrorAs(t, err, &refused, forbidden)
		require.Equal(t, "42501", refused.Code, forbidden)
	}
}
