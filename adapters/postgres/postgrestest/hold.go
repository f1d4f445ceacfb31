// Package postgrestest holds a marking transaction open, for tests of what others see meanwhile.
package postgrestest

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
)

const patience = 30 * time.Second

// HeldOutbox is an outbox that announces nothing, and holds the transaction that marks Workspace: everything of it is
// written, its numbers are taken, and it is not committed. A lock that another session has does it, because the commit
// is with the server already.
type HeldOutbox struct {
	Workspace uuid.UUID

	key     int64
	session *pgx.Conn
}

// NewHeldOutbox takes the lock in the database of a URL.
func NewHeldOutbox(t testing.TB, url string) *HeldOutbox {
	t.Helper()
	session, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = session.Close(context.Background()) })
	workspace := uuid.New()
	o := &HeldOutbox{workspace, int64(binary.BigEndian.Uint32(workspace[:])), session} // a key of one half, for pg_locks
	_, err = session.Exec(t.Context(), "select pg_advisory_lock($1)", o.key)
	require.NoError(t, err)
	return o
}

// Wake tells nobody.
func (*HeldOutbox) Wake(context.Context, pgx.Tx) error { return nil }

// Announce waits for the lock in the transaction of the workspace.
func (o *HeldOutbox) Announce(ctx context.Context, tx pgx.Tx, events ...admission.Event) error {
	for _, event := range events {
		if event.WorkspaceID == o.Workspace {
			_, err := tx.Exec(ctx, "select pg_advisory_xact_lock($1)", o.key)
			return err
		}
	}
	return nil
}

const holdingSQL = "from pg_locks where locktype = 'advisory' and objid::bigint = $1 and not granted"

// WaitForIt returns once the transaction is held.
func (o *HeldOutbox) WaitForIt(t testing.TB) {
	t.Helper()
	require.Eventually(t, func() bool {
		var held bool
		err := o.session.QueryRow(t.Context(), "select exists (select "+holdingSQL+")", o.key).Scan(&held)
		return err == nil && held
	}, patience, time.Millisecond)
}

// LetGo has the transaction committed.
func (o *HeldOutbox) LetGo(t testing.TB) {
	t.Helper()
	_, err := o.session.Exec(t.Context(), "select pg_advisory_unlock($1)", o.key)
	require.NoError(t, err)
}

// Break ends the transaction's connection, so that it is rolled back.
func (o *HeldOutbox) Break(t testing.TB) {
	t.Helper()
	_, err := o.session.Exec(t.Context(), "select pg_terminate_backend(pid, 5000) "+holdingSQL, o.key)
	require.NoError(t, err)
}
