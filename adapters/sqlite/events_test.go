package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// oldEvents are rows of version 1: the event of a decision, one whose decision is gone, and one that was deleted.
const oldEvents = `
insert into decisions values
    ('01890000-0000-7000-8000-000000000001', '2026-04-01T12:00:00.000005Z', null, 'heartbeat', '', 'token',
     '00000000-0000-4000-8000-000000000002', 'platform', 0, 'C', 'r', 'rev', 1, '[]', null, null, '{}', 1, 1);
insert into events (id, workspace_id, event_type, decision_id, message, created_at)
select id, workspace_id, 'WORKSPACE_PROVISION_FAILED', decision_id,
    json_object('event', 'WORKSPACE_PROVISION_FAILED', 'workspace_id', workspace_id, 'timestamp', '2026-04-01T12:00:00.000005Z',
        'payload', json_object('error', 'e', 'code', 'C', 'reason', 'r')),
    '2026-04-01T12:00:00.000005Z'
from (select column1 as id, column2 as workspace_id, column3 as decision_id from (values
    ('10000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000002', '01890000-0000-7000-8000-000000000001'),
    ('10000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-00000000000b', '01890000-0000-7000-8000-000000000002'),
    ('10000000-0000-4000-8000-000000000003', '00000000-0000-4000-8000-000000000002', '01890000-0000-7000-8000-000000000003'),
    ('10000000-0000-4000-8000-000000000004', '00000000-0000-4000-8000-00000000000b', '01890000-0000-7000-8000-000000000004')));
delete from events where seq = 4`

func TestEventsOfTheFirstVersionAreNumberedInOrder(t *testing.T) {
	s := open(t, sqlite.Options{Path: filepath.Join(t.TempDir(), "gatehouse.db")})
	_, err := provider(t, s).UpTo(t.Context(), 1)
	require.NoError(t, err)
	_, err = s.Writer().ExecContext(t.Context(), oldEvents)
	require.NoError(t, err)

	require.NoError(t, s.Migrate(t.Context()))
	_, err = s.LoadDemo(t.Context())
	require.NoError(t, err)

	events, err := s.EventsAfter(t.Context(), 0, 10)
	require.NoError(t, err)
	require.Len(t, events, 3)
	require.Equal(t, []int64{1, 1, 2}, []int64{events[0].Event.Sequence, events[1].Event.Sequence, events[2].Event.Sequence})
	require.Equal(t, []string{"heartbeat", "", ""}, []string{events[0].Event.Hook, events[1].Event.Hook, events[2].Event.Hook})
	require.Equal(t, admission.EventPayload{Error: "e", Code: "C", Reason: "r"}, events[0].Event.Payload)

	seen, err := s.Facts(t.Context(), modelless)
	require.NoError(t, err)
	marked, err := s.RecordAndMark(t.Context(), deny(modelless), seen, neverJudge)
	require.NoError(t, err)
	require.EqualValues(t, 3, marked.Event.Sequence)
	last, err := s.LastEventSeq(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 5, last, "4 is not given again")
}

func TestMigratingBackAndForthKeepsTheEvents(t *testing.T) {
	s := openDemo(t, sqlite.Options{})
	seen, err := s.Facts(t.Context(), modelless)
	require.NoError(t, err)
	_, err = s.RecordAndMark(t.Context(), deny(modelless), seen, neverJudge)
	require.NoError(t, err)
	before, err := s.EventsAfter(t.Context(), 0, 10)
	require.NoError(t, err)

	_, err = provider(t, s).DownTo(t.Context(), 1)
	require.NoError(t, err)
	require.NoError(t, s.Migrate(t.Context()))

	after, err := s.EventsAfter(t.Context(), 0, 10)
	require.NoError(t, err)
	require.Equal(t, before, after)
}
