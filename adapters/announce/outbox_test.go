package announce_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/announce"
	"github.com/molecule-ai/gatehouse/adapters/announce/queue"
	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
	"github.com/molecule-ai/gatehouse/internal/testenv"
)

// The outbox writes River's notification by hand. It must be the one that River's own client sends, or workers sleep until
// they poll; and Announce must send none, because transactions that notify are committed one after the other.
func TestOutboxNotifiesAsRiverDoesAndOnlyOnWake(t *testing.T) {
	t.Parallel()
	pool := openPostgres(t, testenv.DatabaseURL(t, testenv.Empty))
	require.NoError(t, queue.Postgres(pool).Migrate(t.Context()))
	listener, err := pool.Acquire(t.Context())
	require.NoError(t, err)
	defer listener.Release()
	_, err = listener.Exec(t.Context(), `listen "gatehouse.river_insert"`)
	require.NoError(t, err)
	heard := func() *pgconn.Notification {
		notification, err := listener.Conn().WaitForNotification(t.Context())
		require.NoError(t, err)
		return notification
	}

	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{Schema: "gatehouse"})
	require.NoError(t, err)
	_, err = client.Insert(t.Context(), sinks.Job{}, &river.InsertOpts{Queue: queue.Of(sinks.Registry)})
	require.NoError(t, err)
	ofRiver := heard()

	outbox, err := announce.NewPostgresOutbox(named(sinks.Registry))
	require.NoError(t, err)
	require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error { return outbox.Announce(t.Context(), tx, newEvent(t)) }))
	_, err = pool.Exec(t.Context(), "select pg_notify('gatehouse.river_insert', 'announced')")
	require.NoError(t, err)
	require.Equal(t, "announced", heard().Payload, "nothing was sent before")

	require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error { return outbox.Wake(t.Context(), tx) }))
	ofOutbox := heard()
	require.Equal(t, ofRiver.Channel, ofOutbox.Channel)
	require.JSONEq(t, ofRiver.Payload, ofOutbox.Payload)
}
