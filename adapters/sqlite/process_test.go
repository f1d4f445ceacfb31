package sqlite_test

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/sqlite"
)

// TestKill kills a recording process at random moments. Every decision whose Record had returned is there
// afterwards, with its uid, and every mark with its event.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	openDemo(t, sqlite.Options{Path: path})

	for range 5 {
		c := startChild(t, recording, path)
		var answered []string
		for range 1 + rand.IntN(150) {
			answered = append(answered, c.line(t))
		}
		require.NoError(t, c.cmd.Process.Kill())
		// What it printed before it died, it had recorded; a line that the kill cut off is none.
		for c.lines.Scan() {
			answered = append(answered, c.lines.Text())
		}
		_ = c.cmd.Wait()
		requireRecorded(t, path, answered)
	}
}

func requireRecorded(t *testing.T, path string, answered []string) {
	t.Helper()
	s := open(t, sqlite.Options{Path: path})
	allows := texts(t, s, `select d.id || ' allow.' from decisions d join request_uids u on u.decision_id = d.id`)
	marks := texts(t, s, `
		select d.id || ' mark.' from decisions d
		join events e on e.decision_id = d.id join structure_events l on l.id = e.id
		where d.marked_failed`)
	recorded := make(map[string]bool)
	for _, line := range slices.Concat(allows, marks) {
		recorded[line] = true
	}
	for _, line := range answered {
		require.True(t, recorded[line] || !strings.HasSuffix(line, "."), line)
	}
	require.Equal(t, count(t, s, `select count(*) from decisions`), len(recorded), "nothing half done")
	require.Equal(t, count(t, s, `select count(*) from events`), len(marks), "nothing half done")
	require.Equal(t, []string{"ok"}, texts(t, s, `select integrity_check from pragma_integrity_check`))
}

func TestFileLockedByAnotherProcessIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	s := openDemo(t, sqlite.Options{Path: path, BusyTimeout: 20 * time.Millisecond})
	other := startChild(t, locking, path)
	require.Equal(t, "locked", other.line(t))

	_, err := s.Record(t.Context(), allow(researcher))
	require.ErrorIs(t, err, sqlite.ErrLocked)
	requireUnavailable(t, err, "another process has the SQLite file locked")
	requireUnavailable(t, s.LedgerReady(t.Context(), false), "another process has the SQLite file locked")
	facts, err := s.Facts(t.Context(), modelless)
	require.NoError(t, err, "reading waits for no writer")
	_, err = s.RecordAndMark(t.Context(), deny(modelless), facts, neverJudge)
	require.ErrorIs(t, err, sqlite.ErrLocked)
	require.ErrorIs(t, s.PutSecretKey(t.Context(), modelless, "MODEL"), sqlite.ErrLocked)

	other.release(t)
	_, err = s.Record(t.Context(), allow(researcher))
	require.NoError(t, err)
	require.NoError(t, s.LedgerReady(t.Context(), false))
}

// TestDecisionThatNobodyWaitsForIsLeftOut has the lock come free after the caller's deadline.
func TestDecisionThatNobodyWaitsForIsLeftOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	s := openDemo(t, sqlite.Options{Path: path, BusyTimeout: time.Minute})
	other := startChild(t, locking, path)
	require.Equal(t, "locked", other.line(t))

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := s.Record(ctx, allow(researcher))
	require.ErrorIs(t, err, context.DeadlineExceeded)

	other.release(t)
	kept := allow(researcher)
	_, err = s.Record(t.Context(), kept)
	require.NoError(t, err)
	require.Equal(t, []string{kept.ID.String()}, texts(t, s, `select id from decisions`))
}

// TestMigrateTogether has processes, and stores within one, migrate a new file at the same time.
func TestMigrateTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	var children []*child
	for range 3 {
		children = append(children, startChild(t, migrating, path))
	}
	for _, c := range children {
		require.Equal(t, "ready", c.line(t))
	}
	done := make(chan error)
	for range 3 {
		s := open(t, sqlite.Options{Path: path})
		go func() { done <- s.Migrate(t.Context()) }()
	}
	for _, c := range children {
		require.NoError(t, c.stdin.Close())
	}
	for range 3 {
		require.NoError(t, <-done)
	}
	for _, c := range children {
		require.NoError(t, c.cmd.Wait())
	}

	s := open(t, sqlite.Options{Path: path})
	require.Equal(t, 1, count(t, s, `select count(*) from goose_db_version where version_id = 1`))
}

// Everybody waits in one queue for the one connection that writes. While the file is locked, the first waits for as long as
// he may, and the others not for as long each: they would miss their deadlines and hear of those.
func TestLockWaitEndsInTimeForEverybody(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	s := openDemo(t, sqlite.Options{Path: path, BusyTimeout: time.Second})
	facts, err := s.Facts(t.Context(), modelless)
	require.NoError(t, err)
	other := startChild(t, locking, path)
	require.Equal(t, "locked", other.line(t))
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()

	var asking sync.WaitGroup
	for range 20 { // twenty seconds, if each waited for one
		asking.Go(func() {
			_, err := s.RecordAndMark(ctx, deny(modelless), facts, neverJudge)
			assert.ErrorIs(t, err, sqlite.ErrLocked)
		})
	}
	asking.Wait()

	require.NoError(t, ctx.Err())
	other.release(t)
	_, err = s.Record(t.Context(), allow(researcher))
	require.NoError(t, err)
	require.Equal(t, 1000, count(t, s, "pragma busy_timeout"), "and is patient again")
}
