package postgres_test

import (
	"context"
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/postgres"
	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// Those who shared a commit of which nobody heard are tried again, each alone. What the first attempt recorded is
// their answer, whether it is done by then or still under way.
func TestUnheardCommitIsAnsweredAsItWasRecorded(t *testing.T) {
	t.Parallel()
	for name, losing := range map[string]func(*commitLoss, *pgx.Conn, []admission.Event){
		"once it is committed":        (*commitLoss).afterCommit,
		"while it is being committed": (*commitLoss).duringCommit,
	} {
		t.Run(name, func(t *testing.T) {
			h, loss := losingCommit(t, 2, losing)
			for !loss.happened.Load() { // which of those that come at once share a commit is chance
				first, then := changingDecisions(t, h.putWorkspaces(t, 12))
				answers, errs := h.markAll(t, first, func(i int) admission.Judge { return inTurn(first[i], then[i]) })
				for i, answer := range answers {
					require.NoError(t, errs[i])
					h.requireAsRecorded(t, first[i], answer)
					require.Equal(t, first[i].Verdict, answer.Verdict, "nothing is decided a second time")
				}
			}
			loss.working.Wait()
		})
	}
}

// Nobody tries it again, and to look would take as long as what was lost: an error promises nothing.
func TestUnheardCommitOfALoneDecisionIsAnError(t *testing.T) {
	t.Parallel()
	h, loss := losingCommit(t, 1, (*commitLoss).afterCommit)
	d := deniedDecision(t, h.platformRow(t))

	_, err := h.mark(t.Context(), t, d)

	require.Error(t, err)
	require.True(t, loss.happened.Load())
	require.Equal(t, []uuid.UUID{d.ID}, h.Decisions(t, d.WorkspaceID))
	require.Len(t, h.OutgoingEvents(t, d.WorkspaceID), 1)
	require.Len(t, h.Announced(t, d.WorkspaceID), 1)
}

// changingDecisions are, of each workspace, what its facts call for at first, and what when they are read again.
func changingDecisions(t *testing.T, workspaces []uuid.UUID) (first, then []admission.Decision) {
	t.Helper()
	first = denials(t, workspaces)
	for i := range first {
		if i%2 == 0 {
			first[i].UID, first[i].Digest = first[i].ID.String(), sha256.Sum256(first[i].ID[:])
		}
		second := first[i]
		allowed := admission.NewVerdict(nil, first[i].Verdict.Revision)
		switch i % 3 {
		case 1:
			second.Verdict = allowed
		case 2:
			first[i].Verdict = allowed
		}
		then = append(then, second)
	}
	return first, then
}

// inTurn judges differently when it is asked again.
func inTurn(first, then admission.Decision) admission.Judge {
	asked := false
	return func(context.Context, admission.Facts) (admission.Judged, error) {
		if asked {
			return admission.Judged{Decision: then}, nil
		}
		asked = true
		return admission.Judged{Decision: first}, nil
	}
}

// requireAsRecorded says that an answer is the decision that is recorded, with the effects that it speaks of and no other.
func (h *harness) requireAsRecorded(t *testing.T, asked, answer admission.Decision) {
	t.Helper()
	recorded, err := h.store.Decision(t.Context(), asked.ID)
	require.NoError(t, err)
	recorded.Decision.Digest = asked.Digest // which is kept with the uid
	effects := 0
	if answer.Event != nil {
		effects = 1
		event := *answer.Event
		event.Sequence = 0
		answer.Event = &event
	}
	require.Equal(t, recorded.Decision, answer)

	require.Equal(t, effects == 1, h.Row(t, asked.WorkspaceID).Status == "failed")
	structure, _ := h.StructureEvents(t, asked.WorkspaceID)
	outgoing, announced := h.OutgoingEvents(t, asked.WorkspaceID), h.Announced(t, asked.WorkspaceID)
	require.Len(t, structure, effects)
	require.Len(t, outgoing, effects)
	require.Len(t, announced, effects)
	if effects == 1 {
		require.Equal(t, answer.Event.ID, outgoing[0].ID)
		require.Equal(t, answer.Event.ID, announced[0].ID)
	}
}

// commitLoss is an outbox that has the store lose its connection, and with it the answer to a commit: that of the first
// transaction that makes so many events.
type commitLoss struct {
	tableOutbox
	t        *testing.T
	registry *pgxpool.Pool
	proxy    *proxy
	events   int
	lose     func(*commitLoss, *pgx.Conn, []admission.Event) // before they are sent
	happened atomic.Bool
	working  sync.WaitGroup
}

func losingCommit(t *testing.T, events int, lose func(*commitLoss, *pgx.Conn, []admission.Event)) (*harness, *commitLoss) {
	t.Helper()
	database := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	h := newHarness(t, database)
	h.exec(t, "create unique index on outbox (event_id)")
	proxy, url := newProxy(t, database)
	loss := &commitLoss{t: t, registry: h.registry, proxy: proxy, events: events, lose: lose}
	h.store = open(t, url, func(o *postgres.Options) { o.MaxConns, o.Timeout, o.Outbox = 16, 2*patience, loss })
	return h, loss
}

func (l *commitLoss) Announce(ctx context.Context, tx pgx.Tx, events ...admission.Event) error {
	if len(events) >= l.events && l.happened.CompareAndSwap(false, true) {
		l.lose(l, tx.Conn(), events)
	}
	return l.tableOutbox.Announce(ctx, tx, events...)
}

func (l *commitLoss) afterCommit(conn *pgx.Conn, _ []admission.Event) {
	l.proxy.cutAfterCommit(conn.PgConn().Conn().LocalAddr())
}

// duringCommit holds the transaction in the server until who shared it wait for its rows. What holds it is another one
// that writes the same job and does not end.
func (l *commitLoss) duringCommit(conn *pgx.Conn, events []admission.Event) {
	client, process := conn.PgConn().Conn().LocalAddr(), conn.PgConn().PID()
	hold, err := l.registry.Begin(context.Background())
	if !assert.NoError(l.t, err) {
		return
	}
	err = tableOutbox{}.Announce(context.Background(), hold, events[0])
	assert.NoError(l.t, err)
	l.working.Go(func() {
		defer func() { assert.NoError(l.t, hold.Rollback(context.Background())) }()
		l.wait("select exists (select from pg_locks where pid = $1 and not granted)", process)
		l.proxy.cut(client)
		l.wait("select count(*) >= $2 from pg_stat_activity where $1 = any(pg_blocking_pids(pid))", process, len(events))
	})
}

// wait asks until the database says yes.
func (l *commitLoss) wait(sql string, arguments ...any) {
	assert.Eventually(l.t, func() bool {
		var yes bool
		err := l.registry.QueryRow(context.Background(), sql, arguments...).Scan(&yes)
		return assert.NoError(l.t, err) && yes
	}, patience, time.Millisecond, sql)
}

// A record that comes again has no other decision to give: it is the same, or the uid leads to it.
func TestRecordThatComesAgainIsAnsweredAsItWasRecorded(t *testing.T) {
	t.Parallel()
	h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent))
	workspaces := h.putWorkspaces(t, 2)
	for i, uid := range []string{"", "uid-1"} {
		d := allowedDecision(t, workspaces[i])
		d.UID = uid
		for range 2 {
			answer, err := h.store.Record(t.Context(), d)
			require.NoError(t, err)
			h.requireAsRecorded(t, d, answer)
		}
	}
}

// What refuses an insert may be a trigger of the operator's, on another table: then nothing was written, and nothing
// may be answered.
func TestRecordRefusedForAnotherTablesKeyIsNotAnswered(t *testing.T) {
	t.Parallel()
	h := newHarness(t, testenv.DatabaseURL(t, testenv.RegistryCurrent))
	id := h.platformRow(t)
	h.exec(t, "create table copies (workspace_id uuid primary key)")
	h.exec(t, `create function copy_decision() returns trigger language plpgsql as
		$$ begin insert into copies values (new.workspace_id); return new; end $$`)
	h.exec(t, "create trigger copied before insert on gatehouse.decisions for each row execute function copy_decision()")
	first, second := allowedDecision(t, id), allowedDecision(t, id)
	_, err := h.store.Record(t.Context(), first)
	require.NoError(t, err)

	_, err = h.store.Record(t.Context(), second)

	require.ErrorContains(t, err, "copies_pkey")
	require.Equal(t, []uuid.UUID{first.ID}, h.Decisions(t, id))
}
