package postgres_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/postgres"
	"github.com/molecule-ai/gatehouse/adapters/postgres/postgrestest"
	"github.com/molecule-ai/gatehouse/internal/storetest"
	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// oldEvents are rows of version 1, as they are: the event of a decision, and one whose decision is gone.
const oldEvents = `
insert into gatehouse.decisions values
    ('01890000-0000-7000-8000-000000000001', now(), null, 'heartbeat', '', 'token', '00000000-0000-4000-8000-00000000000a',
     'platform', false, 'C', 'r', 'rev', true, '[]', null, null, '{}', 1, 1);
insert into gatehouse.events (id, workspace_id, event_type, decision_id, message, created_at)
select id, workspace_id, 'WORKSPACE_PROVISION_FAILED', decision_id,
    json_build_object('event', 'WORKSPACE_PROVISION_FAILED', 'workspace_id', workspace_id,
        'timestamp', '2026-04-01T12:00:00.000005Z', 'payload', json_build_object('error', 'e', 'code', 'C', 'reason', 'r')),
    '2026-04-01T12:00:00.000005Z'
from (values
    ('10000000-0000-4000-8000-000000000001'::uuid, '00000000-0000-4000-8000-00000000000a'::uuid, '01890000-0000-7000-8000-000000000001'::uuid),
    ('10000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-00000000000b', '01890000-0000-7000-8000-000000000002'),
    ('10000000-0000-4000-8000-000000000003', '00000000-0000-4000-8000-00000000000a', '01890000-0000-7000-8000-000000000003')
) as old (id, workspace_id, decision_id)`

func TestEventsOfTheFirstVersionAreNumberedInOrder(t *testing.T) {
	t.Parallel()
	url := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	atVersion(t, url, 1)
	db, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	_, err = db.Exec(t.Context(), oldEvents)
	require.NoError(t, err)
	require.NoError(t, db.Close(t.Context()))

	h := newHarness(t, url)

	events, err := h.store.EventsAfter(t.Context(), 0, 10)
	require.NoError(t, err)
	require.Len(t, events, 3)
	require.Equal(t, []int64{1, 1, 2}, []int64{events[0].Event.Sequence, events[1].Event.Sequence, events[2].Event.Sequence})
	require.Equal(t, admission.Event{
		ID: uuid.MustParse("10000000-0000-4000-8000-000000000001"), DecisionID: uuid.MustParse("01890000-0000-7000-8000-000000000001"),
		Hook: "heartbeat", Sequence: 1, Event: admission.ProvisionFailed,
		WorkspaceID: uuid.MustParse("00000000-0000-4000-8000-00000000000a"),
		Timestamp:   time.Date(2026, 4, 1, 12, 0, 0, 5000, time.UTC),
		Payload:     admission.EventPayload{Error: "e", Code: "C", Reason: "r"},
	}, events[0].Event)
	require.Empty(t, events[1].Event.Hook, "nobody knows any more")

	id := events[0].Event.WorkspaceID
	h.exec(t, "insert into workspaces (id, name, kind) values ($1, 'concierge', 'platform')", id)
	marked, err := h.mark(t.Context(), t, deniedDecision(t, id))
	require.NoError(t, err)
	require.EqualValues(t, 3, marked.Event.Sequence)
}

func TestEventWriterIsSeenUntilItsSeqIsCommitted(t *testing.T) {
	t.Parallel()
	for name, committed := range map[string]bool{"committed": true, "rolled back": false} {
		t.Run(name, func(t *testing.T) {
			url := testenv.DatabaseURL(t, testenv.RegistryCurrent)
			outbox := postgrestest.NewHeldOutbox(t, url)
			h := newHarness(t, url, func(o *postgres.Options) { o.Outbox = outbox })
			h.PutWorkspace(t, outbox.Workspace, admission.Workspace{Name: "late", Kind: "workspace", DeliveryMode: "push"})
			d := deniedDecision(t, outbox.Workspace)
			var late error
			var marking sync.WaitGroup
			marking.Go(func() { _, late = h.store.RecordAndMark(t.Context(), d, admission.Facts{}, judgeAs(d)) })
			outbox.WaitForIt(t)
			early, err := h.mark(t.Context(), t, deniedDecision(t, h.platformRow(t)))
			require.NoError(t, err)

			events, err := h.store.EventsAfter(t.Context(), 0, 10)
			require.NoError(t, err)
			require.Len(t, events, 1)
			require.Equal(t, early.Event.ID, events[0].Event.ID)
			require.EqualValues(t, 2, events[0].Seq, "1 is taken and cannot be read yet")
			writers, err := h.store.EventWriters(t.Context())
			require.NoError(t, err)
			require.Len(t, writers, 1)
			if committed {
				outbox.LetGo(t)
			} else {
				outbox.Break(t)
			}
			marking.Wait()

			require.Equal(t, committed, late == nil, late)
			writers, err = h.store.EventWriters(t.Context())
			require.NoError(t, err)
			require.Empty(t, writers)
			events, err = h.store.EventsAfter(t.Context(), 0, 10)
			require.NoError(t, err)
			require.Len(t, events, map[bool]int{true: 2, false: 1}[committed])
		})
	}
}

func TestListeningGoesOnAfterARestartOfTheServer(t *testing.T) {
	t.Parallel()
	server := testenv.OwnPostgres(t, testenv.Options{})
	url, err := server.CreateDatabase(t.Context(), testenv.RegistryCurrent)
	require.NoError(t, err)
	h := newHarness(t, url)
	id := h.platformRow(t)
	woken := make(chan struct{}, 100)
	ctx, cancel := context.WithCancel(t.Context())
	var listening sync.WaitGroup
	listening.Go(func() { h.store.ListenEvents(ctx, func() { woken <- struct{}{} }) })
	<-woken

	require.NoError(t, server.Stop(testenv.Immediate))
	require.NoError(t, server.Start(t.Context()))

	<-woken // what was said meanwhile cannot be known
	require.Eventually(t, func() bool { return h.registry.Ping(t.Context()) == nil }, patience, 10*time.Millisecond)
	require.Eventually(t, func() bool { return h.store.LedgerReady(t.Context(), false) == nil }, patience, 10*time.Millisecond)
	_, err = h.mark(t.Context(), t, deniedDecision(t, id))
	require.NoError(t, err)
	<-woken
	cancel()
	listening.Wait()
}

var _ storetest.Store = (*postgres.Store)(nil)
