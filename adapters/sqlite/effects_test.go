package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/server/admission"
)

var errOutbox = errors.New("the outbox is full")

// outboxFunc is an outbox as a function.
type outboxFunc func(ctx context.Context, tx *sql.Tx, event admission.Event) error

func (f outboxFunc) Announce(ctx context.Context, tx *sql.Tx, events ...admission.Event) error {
	return f(ctx, tx, events[0])
}

func TestOutboxThatFailsLeavesNothing(t *testing.T) {
	s := openDemo(t, sqlite.Options{Outbox: outboxFunc(func(ctx context.Context, tx *sql.Tx, _ admission.Event) error {
		_, err := tx.ExecContext(ctx, `update workspaces set name = 'touched by the outbox'`)
		return errors.Join(err, errOutbox)
	})})
	seen, err := s.Facts(t.Context(), modelless)
	require.NoError(t, err)

	_, err = s.RecordAndMark(t.Context(), deny(modelless), seen, neverJudge)
	require.ErrorIs(t, err, errOutbox)
	require.ErrorContains(t, err, "recording a deny: handing the event to the outbox: ")

	after, err := s.Facts(t.Context(), modelless)
	require.NoError(t, err)
	require.Equal(t, seen, after)
	require.Equal(t, 0, count(t, s, `
		select (select count(*) from decisions) + (select count(*) from events) + (select count(*) from structure_events)`))
	_, err = s.Record(t.Context(), allow(researcher))
	require.NoError(t, err, "the connection is free again")
}

func TestStillFailedUntilTheRegistrySaysOtherwise(t *testing.T) {
	s := openDemo(t, sqlite.Options{})
	seen, err := s.Facts(t.Context(), modelless)
	require.NoError(t, err)
	_, err = s.RecordAndMark(t.Context(), deny(modelless), seen, neverJudge)
	require.NoError(t, err)
	failed, err := s.StillFailed(t.Context(), modelless)
	require.NoError(t, err)
	require.True(t, failed)

	online := admission.Workspace{Name: "back", Kind: "platform", Status: new("online"), DeliveryMode: "push"}
	require.NoError(t, s.PutWorkspace(t.Context(), modelless, online))
	failed, err = s.StillFailed(t.Context(), modelless)
	require.NoError(t, err)
	require.False(t, failed)
}

// TestFactsThatCannotBeReadAgain are an error of facts, whatever they were when they were read first.
func TestFactsThatCannotBeReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	s := openDemo(t, sqlite.Options{Path: path})
	seen, err := s.Facts(t.Context(), modelless)
	require.NoError(t, err)

	bad := open(t, sqlite.Options{Path: path, FactsQuery: row(`2`, `'{}'`, `'[]'`)})
	_, err = bad.RecordAndMark(t.Context(), deny(modelless), seen, neverJudge)
	require.Equal(t, admission.CodeFactsUnavailable, admission.AsError(err).Code)
	require.Equal(t, 0, count(t, s, `select count(*) from decisions`))
}

func TestEventsAreNumberedInOrderAndForGood(t *testing.T) {
	s := openDemo(t, sqlite.Options{})
	for range 3 {
		w := admission.Workspace{Kind: "platform", Status: new("online"), DeliveryMode: "push"}
		require.NoError(t, s.PutWorkspace(t.Context(), modelless, w))
		seen, err := s.Facts(t.Context(), modelless)
		require.NoError(t, err)
		_, err = s.RecordAndMark(t.Context(), deny(modelless), seen, neverJudge)
		require.NoError(t, err)
		_, err = s.Writer().ExecContext(t.Context(), `delete from events where seq = 2`)
		require.NoError(t, err)
	}
	require.Equal(t, 3, count(t, s, `select max(seq) from events`), "2 is not given again")
}
