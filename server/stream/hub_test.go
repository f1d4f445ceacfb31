package stream

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

var errAway = errors.New("the database is away")

// drain gives all that a reader can get without waiting.
func drain(t require.TestingT, r *reader[admission.Event]) ([]Streamed[admission.Event], error) {
	var got []Streamed[admission.Event]
	for {
		if !r.live {
			events, err := r.catchUp(context.Background())
			require.NoError(t, err)
			got = append(got, events...)
			continue
		}
		events, _, err := r.take()
		if err != nil || len(events) == 0 {
			return got, err
		}
		got = append(got, events...)
	}
}

func sequences(events []Streamed[admission.Event]) []int64 {
	var found []int64
	for _, e := range events {
		if e.Item != nil {
			found = append(found, e.Item.Sequence)
		}
	}
	return found
}

func positions(events []Streamed[admission.Event]) []int64 {
	found := make([]int64, len(events))
	for i, e := range events {
		found[i] = e.Position
	}
	return found
}

func TestLateCommitIsSentAfterWhatOvertookIt(t *testing.T) {
	m := newMemory()
	m.write(workspace(1), 2)
	h := hubOn(m, Options{})
	require.NoError(t, h.follow(t.Context(), true))
	r := h.fromNow()
	late := m.begin(workspace(2))
	m.write(workspace(1), 2)

	require.NoError(t, h.follow(t.Context(), false))
	got, err := drain(t, r)
	require.NoError(t, err)
	require.Equal(t, []int64{3, 4}, sequences(got), "nobody waits for the late one")
	require.Equal(t, []int64{2, 2}, positions(got), "but nobody may resume behind it")
	m.commit(late)
	require.NoError(t, h.follow(t.Context(), false))
	got, err = drain(t, r)
	require.NoError(t, err)
	require.Equal(t, []int64{1}, sequences(got))
	require.Equal(t, []int64{5}, positions(got), "now everything up to 5 was sent")
}

func TestEventsOfAWorkspaceStayInOrderWhileTheLedgerIsRead(t *testing.T) {
	m := newMemory()
	h := hubOn(m, Options{})
	require.NoError(t, h.follow(t.Context(), true))
	r := h.fromNow()
	late := m.begin(workspace(1))
	m.write(workspace(2), 1)
	require.NoError(t, h.follow(t.Context(), false))
	_, err := drain(t, r)
	require.NoError(t, err)
	reads := 0
	m.onRead = func() {
		reads++
		if reads == 2 {
			m.commit(late)
			m.write(workspace(1), 1)
		}
	}

	require.NoError(t, h.follow(t.Context(), false))
	require.NoError(t, h.follow(t.Context(), false))

	got, err := drain(t, r)
	require.NoError(t, err)
	require.Equal(t, []int64{1, 2}, sequences(got))
}

func TestGapOfARollbackHoldsThePositionOnlyWhileItCanBeFilled(t *testing.T) {
	m := newMemory()
	h := hubOn(m, Options{})
	require.NoError(t, h.follow(t.Context(), true))
	r := h.fromNow()
	lost, long := m.begin(workspace(2)), m.begin(workspace(3))
	m.write(workspace(1), 1)
	require.NoError(t, h.follow(t.Context(), true))
	m.rollBack(lost)
	for range 3 {
		require.NoError(t, h.follow(t.Context(), true))
	}
	got, err := drain(t, r)
	require.NoError(t, err)
	require.Equal(t, []int64{0}, positions(got))
	require.Zero(t, h.cut.watermark())

	m.rollBack(long)
	require.NoError(t, h.follow(t.Context(), true))

	got, err = drain(t, r)
	require.NoError(t, err)
	require.Equal(t, []Streamed[admission.Event]{{Position: 3}}, got, "the position moves without an event")
}

func TestHubBeginsWhenNobodyWritesWhatIsBeforeIt(t *testing.T) {
	m := newMemory()
	late := m.begin(workspace(2))
	m.write(workspace(1), 1)
	h := hubOn(m, Options{})
	require.NoError(t, h.follow(t.Context(), true))
	other := m.begin(workspace(3))
	select {
	case <-h.ready:
		t.Fatal("ready while 1 may still be committed")
	default:
	}

	m.commit(late)
	require.NoError(t, h.follow(t.Context(), false))

	r, err := h.resume(t.Context(), 0)
	require.NoError(t, err)
	m.commit(other)
	require.NoError(t, h.follow(t.Context(), false))
	got, err := drain(t, r)
	require.NoError(t, err)
	require.Equal(t, []int64{1, 2, 3}, positions(got))
}

func TestPositionBeyondTheLedgerIsMalformed(t *testing.T) {
	m := newMemory()
	m.write(workspace(1), 3)
	h := started(t, m, Options{})

	_, err := h.Subscribe(t.Context(), 4)

	require.Equal(t, admission.CodeMalformedRequest, admission.AsError(err).Code)
}

func TestReaderMayComeFromAHubThatIsAhead(t *testing.T) {
	m := newMemory()
	behind := hubOn(m, Options{})
	require.NoError(t, behind.follow(t.Context(), true))
	m.write(workspace(1), 3)

	r, err := behind.resume(t.Context(), 2)
	require.NoError(t, err)
	got, err := drain(t, r)
	require.NoError(t, err)
	require.Empty(t, got)
	require.NoError(t, behind.follow(t.Context(), false))
	got, err = drain(t, r)
	require.NoError(t, err)
	require.Equal(t, []int64{3}, positions(got))
}

func TestReaderTooFarBehindIsGivenUpAndCanResume(t *testing.T) {
	m := newMemory()
	h := hubOn(m, Options{Keep: 4})
	require.NoError(t, h.follow(t.Context(), true))
	slow, fast := h.fromNow(), h.fromNow()
	for range 5 {
		m.write(workspace(1), 1)
		require.NoError(t, h.follow(t.Context(), false))
		got, err := drain(t, fast)
		require.NoError(t, err)
		require.Len(t, got, 1)
	}

	_, err := drain(t, slow)
	require.ErrorIs(t, err, ErrTooSlow)
	again, err := h.resume(t.Context(), 0)
	require.NoError(t, err)
	got, err := drain(t, again)
	require.NoError(t, err)
	require.Equal(t, []int64{1, 2, 3, 4, 5}, positions(got))
}

func TestReaderThatCatchesUpIsNotGivenUp(t *testing.T) {
	m := newMemory()
	h := hubOn(m, Options{Keep: 4})
	require.NoError(t, h.follow(t.Context(), true))
	m.write(workspace(1), 2*page)
	require.NoError(t, h.follow(t.Context(), false))
	r, err := h.resume(t.Context(), 0)
	require.NoError(t, err)
	pages := 0
	m.onRead = func() {
		pages++
		if pages == 2 {
			m.onRead = nil
			m.write(workspace(1), 10)
			require.NoError(t, h.follow(t.Context(), false))
		}
	}

	got, err := drain(t, r)

	require.NoError(t, err)
	want := make([]int64, 2*page+10)
	for i := range want {
		want[i] = int64(i + 1)
	}
	require.Equal(t, want, sequences(got))
}

func TestHubReadsNothingTwiceThatItStillHas(t *testing.T) {
	m := newMemory()
	h := hubOn(m, Options{})
	require.NoError(t, h.follow(t.Context(), true))
	m.write(workspace(1), 10)
	require.NoError(t, h.follow(t.Context(), false))
	before := m.readSoFar()

	for after := range int64(10) {
		r, err := h.resume(t.Context(), after)
		require.NoError(t, err)
		got, err := drain(t, r)
		require.NoError(t, err)
		require.Len(t, got, int(10-after))
	}

	require.Equal(t, before, m.readSoFar())
}

// Transactions begin and end in any order; two hubs read when they are told to; readers come, follow, go and
// resume, at any hub, wherever they were. In the end each has everything beyond where it began.
func TestFollowerThatResumesLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{m: newMemory()}
		for range 2 {
			w.hubs = append(w.hubs, hubOn(w.m, Options{Keep: 3}))
		}
		w.m.write(workspace(1), rapid.IntRange(0, 5).Draw(t, "events before"))
		for _, h := range w.hubs {
			require.NoError(t, h.follow(context.Background(), true))
		}
		w.m.onRead = func() { w.meanwhile(t) }
		t.Repeat(map[string]func(*rapid.T){
			"begin": w.begin, "commit": w.commit, "roll back": w.rollBack, "hub reads": w.read,
			"come": w.come, "follow": w.follow, "resume": w.resume,
		})
		w.end(t)
	})
}

type world struct {
	m       *memory
	open    []int64
	hubs    []*Hub[admission.Event]
	readers []*follower
}

// follower is a reader over all of its connections.
type follower struct {
	*reader[admission.Event]
	before cut // what its hub had read when it came
	got    map[int64]bool
	seen   map[uuid.UUID]int64 // sequence of the last event of each workspace, of this connection
}

func (w *world) begin(t *rapid.T) {
	id := workspace(rapid.IntRange(1, 6).Draw(t, "workspace"))
	if !w.m.busy(id) {
		w.open = append(w.open, w.m.begin(id))
	}
}

// finish ends a transaction, if one is open.
func (w *world) finish(t *rapid.T, how func(seq int64)) {
	if len(w.open) == 0 {
		return
	}
	i := rapid.IntRange(0, len(w.open)-1).Draw(t, "transaction")
	seq := w.open[i]
	w.open = append(w.open[:i], w.open[i+1:]...)
	how(seq)
}

func (w *world) commit(t *rapid.T)   { w.finish(t, w.m.commit) }
func (w *world) rollBack(t *rapid.T) { w.finish(t, w.m.rollBack) }

// meanwhile has transactions end, and others of the same workspaces follow them, between two reads.
func (w *world) meanwhile(t *rapid.T) {
	for len(w.open) > 0 && rapid.IntRange(0, 3).Draw(t, "commits meanwhile") == 0 {
		w.commit(t)
		w.begin(t)
	}
}

func (w *world) hub(t *rapid.T) *Hub[admission.Event] {
	return rapid.SampledFrom(w.hubs).Draw(t, "hub")
}

func (w *world) read(t *rapid.T) {
	require.NoError(t, w.hub(t).follow(context.Background(), rapid.Bool().Draw(t, "tick")))
}

func (w *world) come(t *rapid.T) {
	h := w.hub(t)
	f := &follower{reader: h.fromNow(), before: h.cut.clone(), got: make(map[int64]bool), seen: make(map[uuid.UUID]int64)}
	w.readers = append(w.readers, f)
	f.follow(t)
	require.Equal(t, f.before.watermark(), f.position, "it is told where it is")
}

func (w *world) follow(t *rapid.T) {
	for _, f := range w.readers {
		if rapid.Bool().Draw(t, "reads") {
			f.follow(t)
		}
	}
}

// resume has a reader go and come back to some hub, with what it was told last.
func (w *world) resume(t *rapid.T) {
	for _, f := range w.readers {
		if rapid.Bool().Draw(t, "resumes") {
			f.resume(t, w.hub(t))
		}
	}
}

func (f *follower) resume(t *rapid.T, h *Hub[admission.Event]) {
	var err error
	f.reader, err = h.resume(context.Background(), f.position)
	require.NoError(t, err)
	f.seen = make(map[uuid.UUID]int64)
	f.follow(t)
}

func (f *follower) follow(t *rapid.T) {
	before := f.position
	got, err := drain(t, f.reader)
	for _, e := range got {
		require.GreaterOrEqual(t, e.Position, before, "a position never goes back")
		before = e.Position
		if e.Item == nil {
			continue
		}
		id := e.Item.WorkspaceID
		require.Greater(t, e.Item.Sequence, f.seen[id], "events of one workspace come in order, and once a connection")
		f.seen[id] = e.Item.Sequence
		f.got[seqOf(e.Item)] = true
	}
	if err != nil {
		require.ErrorIs(t, err, ErrTooSlow)
		f.resume(t, f.hub)
	}
}

func seqOf(e *admission.Event) int64 { return int64(e.WorkspaceID[15])<<32 | e.Sequence }

// end lets all transactions end, and everybody read.
func (w *world) end(t *rapid.T) {
	w.m.onRead = nil
	for _, seq := range w.open {
		w.m.commit(seq)
	}
	all := w.m.all()
	for _, h := range w.hubs {
		for range 3 {
			require.NoError(t, h.follow(context.Background(), true))
		}
		if len(all) > 0 {
			require.GreaterOrEqual(t, h.cut.watermark(), all[len(all)-1].Seq)
		}
		for after := range int64(len(all)) {
			r, err := h.resume(context.Background(), after)
			require.NoError(t, err)
			got, err := drain(t, r)
			require.NoError(t, err)
			require.Len(t, sequences(got), countAfter(all, after))
		}
	}
	for _, f := range w.readers {
		f.follow(t)
		for _, e := range all {
			require.True(t, f.before.has(e.Seq) || f.got[seqOf(&e.Event)], "%d is lost", e.Seq)
		}
	}
}

func countAfter(all []ledger.Event, after int64) int {
	n := 0
	for _, e := range all {
		if e.Seq > after {
			n++
		}
	}
	return n
}

func TestHubSurvivesALedgerThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.failing(errAway)
		var log strings.Builder
		h := hubOn(m, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		h.Start()
		_, err := h.Subscribe(t.Context(), FromNow)
		require.Equal(t, admission.CodeNotReady, admission.AsError(err).Code)

		m.failing(nil)
		next, err := h.Subscribe(t.Context(), FromNow)
		require.NoError(t, err)
		synctest.Wait() // the hub has read to the end, and has said that it goes on
		m.failing(errAway)
		m.write(workspace(1), 1)
		synctest.Wait()
		// Between two polls: on a full second the next one could come before the reader does.
		time.Sleep(time.Minute + time.Second/2)
		m.failing(nil)

		require.Equal(t, []int64{0}, positions(read(t, next, 1)))
		require.Equal(t, []int64{1}, positions(read(t, next, 1)))
		h.Close()
		require.Equal(t, 2, strings.Count(log.String(), "waits for the ledger"))
		require.Equal(t, 2, strings.Count(log.String(), "goes on"))
	})
}

func TestLedgerIsPolledNoFasterThanOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		h := New(Events(m), Options{})
		h.Start()
		synctest.Wait()
		before := m.readSoFar()
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		require.Equal(t, before+10, m.readSoFar())
		h.Close()
	})
}

// read reads until there are n.
func read(
	t require.TestingT, next func(context.Context) ([]Streamed[admission.Event], error), n int,
) []Streamed[admission.Event] {
	var got []Streamed[admission.Event]
	for len(got) < n {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		events, err := next(ctx)
		cancel()
		require.NoError(t, err)
		got = append(got, events...)
	}
	return got
}

func TestClosingEndsReadersAndTheListener(t *testing.T) {
	m := newMemory()
	h := started(t, m, Options{})
	var running sync.WaitGroup
	for range 10 {
		next, err := h.Subscribe(t.Context(), FromNow)
		require.NoError(t, err)
		read(t, next, 1)
		running.Go(func() {
			_, err := next(context.Background())
			if !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		})
	}

	h.Close()

	running.Wait()
	_, err := h.Subscribe(t.Context(), FromNow)
	require.ErrorIs(t, err, ErrClosed)
	h.Start()
	h.Close()
}

func TestReaderGoesOnAfterTheContextOfNextEnded(t *testing.T) {
	m := newMemory()
	h := started(t, m, Options{Poll: never})
	next, err := h.Subscribe(t.Context(), FromNow)
	require.NoError(t, err)
	read(t, next, 1)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = next(ended)
	require.ErrorIs(t, err, context.Canceled)

	m.write(workspace(1), 1)

	require.Equal(t, []int64{1}, positions(read(t, next, 1)))
}

func TestHubServesAHundredReadersWhileOneDoesNotRead(t *testing.T) {
	const readers, events = 100, 2000
	m := newMemory()
	h := started(t, m, Options{Keep: 500, Poll: never})
	stuck, err := h.Subscribe(t.Context(), FromNow)
	require.NoError(t, err)
	var running sync.WaitGroup
	for range readers {
		next, err := h.Subscribe(t.Context(), FromNow)
		require.NoError(t, err)
		running.Go(func() { followTo(t, h, next, events) })
	}

	for i := range events {
		m.write(workspace(i%7), 1)
	}

	running.Wait()
	_, err = stuck(t.Context())
	require.ErrorIs(t, err, ErrTooSlow)
}

// followTo follows to a position, and resumes if this machine is too slow for the test.
func followTo(t *testing.T, h *Hub[admission.Event], next func(context.Context) ([]Streamed[admission.Event], error), last int64) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	position, got := FromNow, int64(0)
	for position < last {
		events, err := next(ctx)
		if errors.Is(err, ErrTooSlow) {
			next, err = h.Subscribe(ctx, max(position, 0))
		}
		if err != nil {
			t.Error(err)
			return
		}
		for _, e := range events {
			position = e.Position
			if e.Item != nil {
				got++
			}
		}
	}
	if got != last {
		t.Errorf("%d events of %d", got, last)
	}
}
