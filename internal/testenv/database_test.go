package testenv

import (
	"bytes"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// requireCode expects an error of PostgreSQL with this SQLSTATE.
func requireCode(t *testing.T, err error, code string) {
	t.Helper()
	var refused *pgconn.PgError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, code, refused.Code, refused.Message)
}

const (
	undefinedColumn     = "42703"
	invalidText         = "22P02"
	checkViolation      = "23514"
	uniqueViolation     = "23505"
	foreignKeyViolation = "23503"
)

func TestDatabasesAreIndependent(t *testing.T) {
	ctx := t.Context()
	first := connect(t, DatabaseURL(t, RegistryCurrent))
	second := connect(t, DatabaseURL(t, RegistryCurrent))

	_, err := first.Exec(ctx, "insert into workspaces (name, kind) values ('concierge', 'platform')")
	require.NoError(t, err)

	var rows int
	require.NoError(t, second.QueryRow(ctx, "select count(*) from workspaces").Scan(&rows))
	require.Zero(t, rows)
}

func TestParallelTestsGetDatabases(t *testing.T) {
	for range 8 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			var rows int
			conn := connect(t, DatabaseURL(t, RegistryBase))
			require.NoError(t, conn.QueryRow(t.Context(), "select count(*) from workspaces").Scan(&rows))
			require.Zero(t, rows)
		})
	}
}

func TestTestsUserOwnsTheDatabaseAndIsNoSuperuser(t *testing.T) {
	conn := connect(t, DatabaseURL(t, Empty))
	_, err := conn.Exec(t.Context(), "create schema gatehouse create table decisions (uid uuid)")
	require.NoError(t, err)
	require.Equal(t, "off", setting(t, conn, "is_superuser"))
}

func TestCurrentRegistry(t *testing.T) {
	ctx := t.Context()
	conn := connect(t, DatabaseURL(t, RegistryCurrent))
	platform := uuid.New()
	exec := func(statement string, arguments ...any) error {
		_, err := conn.Exec(ctx, statement, arguments...)
		return err
	}
	insert := "insert into workspaces (id, name, kind, parent_id) values ($1, 'name', $2, $3)"

	requireCode(t, exec(insert, uuid.New(), "x", nil), checkViolation)
	requireCode(t, exec(insert, uuid.New(), "platform", uuid.New()), checkViolation)
	require.NoError(t, exec(insert, platform, "platform", nil))
	requireCode(t, exec(insert, uuid.New(), "platform", nil), uniqueViolation)
	require.NoError(t, exec(insert, uuid.New(), "workspace", platform))
	require.NoError(t, exec("update workspaces set status = 'awaiting_agent', delivery_mode = 'poll'"))
	require.NoError(t, exec("update workspaces set status = null"))

	secret := "insert into workspace_secrets (workspace_id, key, encrypted_value) values ($1, 'MODEL', '')"
	require.NoError(t, exec(secret, platform))
	requireCode(t, exec(secret, platform), uniqueViolation)
	requireCode(t, exec(secret, uuid.New()), foreignKeyViolation)
	require.NoError(t, exec("insert into structure_events (event_type, workspace_id) values ('X', $1)", uuid.New()))
}

func TestBaseRegistryHasNoKindsAndFewerStatuses(t *testing.T) {
	ctx := t.Context()
	conn := connect(t, DatabaseURL(t, RegistryBase))

	_, err := conn.Exec(ctx, "select kind from workspaces")
	requireCode(t, err, undefinedColumn)
	_, err = conn.Exec(ctx, "select delivery_mode from workspaces")
	requireCode(t, err, undefinedColumn)
	_, err = conn.Exec(ctx, "select 'awaiting_agent'::workspace_status")
	requireCode(t, err, invalidText)
}

func TestUnknownFixtureIsAnError(t *testing.T) {
	_, err := Fixture("registry").statements()
	require.EqualError(t, err, `there is no fixture "registry"`)
}

func TestServerOfTheEnvironmentIsUsed(t *testing.T) {
	server := OwnPostgres(t, Options{})
	t.Setenv(DatabaseVariable, server.URL("postgres"))
	var binary binaryServers

	admin, err := binary.databaseAdmin(t.Context())

	require.NoError(t, err)
	require.Equal(t, server.URL("postgres"), admin)
	require.Nil(t, binary.postgres.value)
}

func TestAdministratorsURL(t *testing.T) {
	t.Run("keeps what needs escaping", func(t *testing.T) {
		config, err := templateConfig("postgresql://ad%40min:p%3A%2F%40s@[::1]/post%20gres?sslmode=disable")
		require.NoError(t, err)

		parsed, err := pgx.ParseConfig(config.URL())

		require.NoError(t, err)
		require.Equal(t, "ad@min", parsed.User)
		require.Equal(t, "p:/@s", parsed.Password)
		require.Equal(t, "::1", parsed.Host)
		require.Equal(t, uint16(5432), parsed.Port)
		require.Equal(t, "post gres", parsed.Database)
	})
	for name, address := range map[string]string{
		"key and value form": "host=localhost user=postgres",
		"another scheme":     "mysql://root:secret@localhost/db",
		"no host":            "postgres:///postgres",
		"no user":            "postgres://localhost/postgres",
		"no URL":             "postgres://root:secret@[/",
	} {
		t.Run("refuses "+name, func(t *testing.T) {
			_, err := templateConfig(address)
			require.ErrorContains(t, err, "GATEHOUSE_TEST_DATABASE_URL must be postgres://")
			require.NotContains(t, err.Error(), "secret")
		})
	}
}

func TestFinishStopsServersAndReportsLeaks(t *testing.T) {
	var log bytes.Buffer
	server := OwnRedis(t)
	binary := binaryServers{redis: once[*RedisServer]{made: true, value: server}}
	release := make(chan struct{})
	defer close(release)
	go func() { <-release }()

	require.Equal(t, 1, binary.finish(0, &log))

	require.Contains(t, log.String(), "left goroutines behind")
	require.NoDirExists(t, server.scratch.path)
}

func TestFinishKeepsTheCodeOfFailedTests(t *testing.T) {
	var log bytes.Buffer
	var binary binaryServers
	release := make(chan struct{})
	defer close(release)
	go func() { <-release }()

	require.Equal(t, 2, binary.finish(2, &log))

	require.Empty(t, log.String())
}
