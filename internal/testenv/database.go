package testenv

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // pgtestdb connects through database/sql
	"github.com/peterldowns/pgtestdb"
)

// DatabaseURL returns the URL of a fresh database for this test, which is
// dropped after it, or kept for inspection when the test failed. The URL's user
// owns the database and is no superuser, as Gatehouse's is in production. It
// may be called by parallel tests.
//
// The server is the one of [DatabaseVariable], or else one per test binary,
// which other tests use at the same time: a test that stops it wants
// [OwnPostgres] instead.
func DatabaseURL(t testing.TB, fixture Fixture) string {
	t.Helper()
	admin, err := perBinary.databaseAdmin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	config, err := templateConfig(admin)
	if err != nil {
		t.Fatal(err)
	}
	return pgtestdb.Custom(t, config, migrator{fixture}).URL()
}

// OwnPostgres starts a server for this test alone and closes it after the test.
func OwnPostgres(t testing.TB, options Options) *PostgresServer {
	t.Helper()
	server, err := StartPostgres(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	server.closeAfter(t)
	return server
}

// templateConfig turns an administrator's URL into pgtestdb's form, which is
// put together again as text and therefore has to stay escaped.
func templateConfig(admin string) (pgtestdb.Config, error) {
	address, err := url.Parse(admin)
	if err != nil {
		return pgtestdb.Config{}, wrongURL("it cannot be parsed")
	}
	if address.Scheme != "postgres" && address.Scheme != "postgresql" {
		return pgtestdb.Config{}, wrongURL("its scheme is not postgres")
	}
	if address.Hostname() == "" || address.User.Username() == "" {
		return pgtestdb.Config{}, wrongURL("it has no host or no user")
	}
	port := address.Port()
	if port == "" {
		port = "5432"
	}
	password, _ := address.User.Password()
	return pgtestdb.Config{
		DriverName: "pgx",
		Host:       strings.TrimSuffix(address.Host, ":"+address.Port()),
		Port:       port,
		User:       url.User(address.User.Username()).String(),
		Password:   strings.TrimPrefix(url.UserPassword("", password).String(), ":"),
		Database:   strings.TrimPrefix(address.EscapedPath(), "/"),
		Options:    address.RawQuery,
		TestRole: &pgtestdb.Role{
			Username:     "gatehouse_test",
			Password:     "gatehouse_test",
			Capabilities: pgtestdb.DefaultRoleCapabilities,
		},
		// A test that leaks a connection is found by the check of goroutines; its
		// database need not stay for that.
		ForceTerminateConnections: true,
	}, nil
}

// wrongURL does not repeat the URL, which may hold a password.
func wrongURL(reason string) error {
	return fmt.Errorf("%s must be postgres://user:password@host:port/database of a superuser, but %s",
		DatabaseVariable, reason)
}
