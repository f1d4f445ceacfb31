package postgres_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/postgres"
	"github.com/molecule-ai/gatehouse/internal/testenv"
)

// A password file that changes logs in the connections that are made from then on, of the pool and beside it; an empty or
// missing one changes nothing.
func TestPasswordFileIsReadAgain(t *testing.T) {
	t.Parallel()
	server := testenv.OwnPostgres(t, testenv.Options{})
	owner, err := server.CreateDatabase(t.Context(), testenv.RegistryCurrent)
	require.NoError(t, err)
	admin := newHarness(t, owner)
	admin.exec(t, "create role rotated login superuser password 'first'")
	address, err := url.Parse(owner)
	require.NoError(t, err)
	passwords := filepath.Join(t.TempDir(), "pgpass")
	write := func(password string) {
		line := fmt.Sprintf("%s:%s:*:rotated:%s\n", address.Hostname(), address.Port(), password)
		require.NoError(t, os.WriteFile(passwords, []byte(line), 0o600))
	}
	write("first")
	address.User = url.User("rotated")
	query := address.Query()
	query.Set("passfile", passwords)
	address.RawQuery = query.Encode()
	store := open(t, address.String(), func(o *postgres.Options) { o.MaxConns = 2 })
	connect := func() error {
		store.Pool().Reset()
		return store.Pool().Ping(t.Context())
	}
	require.NoError(t, connect())

	require.NoError(t, os.WriteFile(passwords, nil, 0o600))
	require.NoError(t, connect(), "an empty file empties nothing")
	require.NoError(t, os.Remove(passwords))
	require.NoError(t, connect())

	admin.exec(t, "alter role rotated password 'second'")
	require.ErrorContains(t, connect(), "password authentication failed")
	write("second")
	require.NoError(t, connect())
	release, _, held, err := store.Exclusive(t.Context(), "some right")
	require.NoError(t, err, "a connection beside the pool")
	require.True(t, held)
	release()
	require.NoError(t, store.Migrate(t.Context()))
}
