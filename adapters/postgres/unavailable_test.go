package postgres_test

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/postgres"
	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/server/admission"
)

func requireUnavailable(t *testing.T, err error, reason string) {
	t.Helper()
	var coded *admission.Error
	require.ErrorAs(t, err, &coded)
	require.Equal(t, admission.CodeLedgerUnavailable, coded.Code)
	require.Equal(t, reason, coded.Detail)
}

// recovers waits until the ledger is there again by itself.
func (h *harness) recovers(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return h.store.LedgerReady(t.Context(), true) == nil }, patience, 10*time.Millisecond)
	_, err := h.store.Record(t.Context(), allowedDecision(t, uuid.New()))
	require.NoError(t, err)
}

// The setting holds for connections that are made while it is there, and as long as they last.
func TestReadOnlyDatabaseIsAnUnavailableLedger(t *testing.T) {
	t.Parallel()
	h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent))
	id := h.platformRow(t)
	seen, err := h.store.Facts(t.Context(), id)
	require.NoError(t, err)
	set := func(to string) {
		h.exec(t, "set default_transaction_read_only = off")
		h.exec(t, fmt.Sprintf("do $$ begin execute format('alter database %%I set default_transaction_read_only = %s', current_database()); end $$", to))
	}
	set("on")
	h.store.Pool().Reset()
	const reason = "the database is read-only"

	_, err = h.store.Record(t.Context(), allowedDecision(t, id))
	requireUnavailable(t, err, reason)
	d := deniedDecision(t, id)
	_, err = h.store.RecordAndMark(t.Context(), d, seen, judgeAs(d))
	requireUnavailable(t, err, reason)
	requireUnavailable(t, h.store.LedgerReady(t.Context(), false), reason)
	require.NoError(t, h.store.FactsReady(t.Context()), "reading goes on")

	set("off")
	h.recovers(t)
}

// A failover leaves connections to what was the primary. With target_session_attrs=read-write a new one finds what is.
func TestDemotedPrimaryIsLeftForTheNewOne(t *testing.T) {
	t.Parallel()
	before, after := testenv.OwnPostgres(t, testenv.Options{}), testenv.OwnPostgres(t, testenv.Options{})
	old, err := before.CreateDatabase(t.Context(), testenv.RegistryCurrent)
	require.NoError(t, err)
	other, err := after.CreateDatabase(t.Context(), testenv.RegistryCurrent)
	require.NoError(t, err)
	promoted := newHarness(t, renamedAs(t, other, old))
	demoted := newHarness(t, old)
	demoted.store = open(t, bothHosts(t, old, other), func(o *postgres.Options) { o.Outbox, o.MaxConns = tableOutbox{}, 4 })
	id := demoted.platformRow(t)
	_, err = demoted.store.Record(t.Context(), allowedDecision(t, id))
	require.NoError(t, err)
	require.Len(t, demoted.Decisions(t, id), 1)

	demoted.exec(t, "alter system set default_transaction_read_only = on")
	demoted.exec(t, "select pg_reload_conf()")
	require.Eventually(t, func() bool {
		_, err := demoted.store.Record(t.Context(), allowedDecision(t, id))
		return err == nil && len(promoted.Decisions(t, id)) > 0
	}, patience, 10*time.Millisecond)
}

// renamedAs gives the database that one URL names the name and password that the other URL has.
func renamedAs(t *testing.T, database, like string) string {
	t.Helper()
	from, to := parsed(t, database), parsed(t, like)
	from.Path, database = "/postgres", from.Path[1:]
	admin, err := pgx.Connect(t.Context(), from.String())
	require.NoError(t, err)
	defer func() { require.NoError(t, admin.Close(context.WithoutCancel(t.Context()))) }()
	_, err = admin.Exec(t.Context(), "alter database "+pgx.Identifier{database}.Sanitize()+" rename to "+pgx.Identifier{to.Path[1:]}.Sanitize())
	require.NoError(t, err)
	password, _ := to.User.Password()
	_, err = admin.Exec(t.Context(), fmt.Sprintf("alter role %s password '%s'", pgx.Identifier{to.User.Username()}.Sanitize(), password))
	require.NoError(t, err)
	from.Path, from.User = to.Path, to.User
	return from.String()
}

func bothHosts(t *testing.T, first, second string) string {
	t.Helper()
	one, two := parsed(t, first), parsed(t, second)
	one.Host += "," + two.Host
	query := one.Query()
	query.Set("target_session_attrs", "read-write")
	one.RawQuery = query.Encode()
	return one.String()
}

func parsed(t *testing.T, text string) *url.URL {
	t.Helper()
	address, err := url.Parse(text)
	require.NoError(t, err)
	return address
}

// The trigger answers as a server does that cannot make a table longer. That only an insert of a row meets it is true of
// a full disk too.
func TestFullDiskIsAnUnavailableLedger(t *testing.T) {
	t.Parallel()
	h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent))
	id := h.platformRow(t)
	h.exec(t, `create function full_disk() returns trigger language plpgsql as
		$$ begin raise exception 'could not extend file' using errcode = 'disk_full'; end $$`)
	h.exec(t, "create trigger full_disk before insert on gatehouse.decisions for each row execute function full_disk()")
	const reason = "the database's disk is full"

	_, err := h.store.Record(t.Context(), allowedDecision(t, id))
	requireUnavailable(t, err, reason)
	require.NoError(t, h.store.LedgerReady(t.Context(), false))
	requireUnavailable(t, h.store.LedgerReady(t.Context(), true), reason)

	h.exec(t, "drop trigger full_disk on gatehouse.decisions")
	h.recovers(t)
	require.Len(t, collect(t, h, pgx.RowTo[string], "select id::text from gatehouse.decisions"), 1, "looking records nothing")
	require.Empty(t, collect(t, h, pgx.RowTo[string], "select uid from gatehouse.request_uids"))
}

// Whoever waits for the same table hears why, not only the first of them.
func TestLockedTableIsAnUnavailableLedger(t *testing.T) {
	t.Parallel()
	h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent), func(o *postgres.Options) { o.Timeout = time.Second })
	id := h.platformRow(t)
	const reason = "another transaction holds a lock for too long"
	for _, table := range []string{"gatehouse.request_uids", "gatehouse.decisions", "gatehouse.events", "structure_events", "workspaces"} {
		unlock := h.lockTable(t, table)
		requireUnavailable(t, h.store.LedgerReady(t.Context(), false), reason)
		unlock()
	}
	unlock := h.lockTable(t, "gatehouse.request_uids")
	limited, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var asking sync.WaitGroup
	for i := range 20 {
		asking.Go(func() {
			d := allowedDecision(t, id)
			d.UID = fmt.Sprint("uid-", i)
			_, err := h.store.Record(limited, d)
			var coded *admission.Error
			if assert.ErrorAs(t, err, &coded) {
				assert.Equal(t, reason, coded.Detail)
			}
		})
	}
	asking.Wait()
	require.NoError(t, limited.Err())
	_, err := h.store.Record(t.Context(), allowedDecision(t, id))
	require.NoError(t, err, "a decision without a uid needs no uids")
	_, err = h.store.Recorded(t.Context(), admission.RequestKey{UID: "uid-1"})
	requireUnavailable(t, err, reason)

	unlock()
	h.recovers(t)
}

// lockTable keeps a table as a migration or an operator may, until unlock.
func (h *harness) lockTable(t *testing.T, table string) (unlock func()) {
	t.Helper()
	tx, err := h.registry.Begin(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	_, err = tx.Exec(t.Context(), "lock table "+table+" in access exclusive mode")
	require.NoError(t, err)
	return func() { require.NoError(t, tx.Rollback(t.Context())) }
}
