package stream_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/stream"
)

// patience is how long a test waits for what must happen; only a test that fails spends it.
const patience = 30 * time.Second

// eventStore is a store's ledger of events.
type eventStore interface {
	stream.EventStore
	ListenEvents(ctx context.Context, wake func())
}

func start(t testing.TB, store eventStore, options stream.Options) *stream.Hub[admission.Event] {
	t.Helper()
	options.Listen = store.ListenEvents
	hub := stream.New(stream.Events(store), options)
	hub.Start()
	t.Cleanup(hub.Close)
	return hub
}

// store is what marks.
type store interface {
	admission.FactsReader
	admission.Ledger
}

// mark denies a workspace and marks it failed.
func mark(ctx context.Context, s store, id uuid.UUID) error {
	decisionID, err := uuid.NewV7()
	if err != nil {
		return err
	}
	d := admission.Decision{
		ID: decisionID, At: time.Now().UTC().Truncate(time.Microsecond), Hook: "register",
		CallerProof: admission.Token, WorkspaceID: id, Kind: "workspace", Input: []byte(`{}`),
		Verdict: admission.NewVerdict([]admission.Violation{{
			Rule: "r", Code: "C", Reason: "r", Message: "it must not", Severity: admission.Critical,
			Enforcement: admission.Deny, Status: 400, MarkFailed: true,
		}}, "revision-1"),
	}
	_, err = s.RecordAndMark(ctx, d, admission.Facts{}, func(context.Context, admission.Facts) (admission.Judged, error) {
		return admission.Judged{Decision: d}, nil
	})
	return err
}

type next = func(context.Context) ([]stream.Streamed[admission.Event], error)

// read reads until there are n, of which some may be a position alone.
func read(t require.TestingT, next next, n int) []stream.Streamed[admission.Event] {
	var got []stream.Streamed[admission.Event]
	for len(got) < n {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		events, err := next(ctx)
		cancel()
		require.NoError(t, err)
		got = append(got, events...)
	}
	return got
}

// readEvents reads until there are n events.
func readEvents(t require.TestingT, next next, n int) []stream.Streamed[admission.Event] {
	var got []stream.Streamed[admission.Event]
	for len(got) < n {
		for _, e := range read(t, next, 1) {
			if e.Item != nil {
				got = append(got, e)
			}
		}
	}
	return got
}

// receiver does what a client does: it resumes when it was given up, and drops what it has got already.
type receiver struct {
	hub      *stream.Hub[admission.Event]
	next     next
	position int64
	got      []stream.Streamed[admission.Event]
	seen     map[uuid.UUID]bool
}

func receive(t require.TestingT, hub *stream.Hub[admission.Event], after int64) *receiver {
	n, err := hub.Subscribe(context.Background(), after)
	require.NoError(t, err)
	return &receiver{hub: hub, next: n, position: after, seen: make(map[uuid.UUID]bool)}
}

// readTo reads until it has all of ids.
func (r *receiver) readTo(t require.TestingT, ids []uuid.UUID) {
	for _, id := range ids {
		for !r.seen[id] {
			r.read(t)
		}
	}
}

func (r *receiver) read(t require.TestingT) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	events, err := r.next(ctx)
	if errors.Is(err, stream.ErrTooSlow) {
		r.next, err = r.hub.Subscribe(ctx, r.position)
	}
	require.NoError(t, err)
	for _, e := range events {
		require.GreaterOrEqual(t, e.Position, r.position)
		r.position = e.Position
		if e.Item != nil && !r.seen[e.Item.ID] {
			r.seen[e.Item.ID] = true
			r.got = append(r.got, e)
		}
	}
}

// requireStreams writes events from several sides at once, and compares what the hubs make of it with the ledger,
// and the streams of readers who resume with what came after.
func requireStreams(t *testing.T, hubs []*stream.Hub[admission.Event], ledger stream.EventStore, write func(worker, i int) error) {
	t.Helper()
	const workers, each = 6, 25
	var receivers []*receiver
	for _, hub := range hubs {
		r := receive(t, hub, stream.FromNow)
		r.read(t)
		receivers = append(receivers, r)
	}
	var writing sync.WaitGroup
	for worker := range workers {
		writing.Go(func() {
			for i := range each {
				err := write(worker, i)
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for len(receivers[0].got) < workers*each {
		receivers[0].read(t)
	}
	writing.Wait()
	all, err := ledger.EventsAfter(t.Context(), 0, 1000)
	require.NoError(t, err)
	require.Len(t, all, workers*each)
	var written []uuid.UUID
	for i := range all {
		written = append(written, all[i].Event.ID)
	}
	for _, r := range receivers {
		r.readTo(t, written)
		require.Len(t, r.got, len(written))
		requireInOrder(t, r.got)
	}

	rapid.Check(t, func(t *rapid.T) {
		from := rapid.SampledFrom(receivers).Draw(t, "stream")
		i := rapid.IntRange(0, len(written)).Draw(t, "events that were seen")
		position := int64(0)
		if i > 0 {
			position = from.got[i-1].Position
		}
		r := receive(t, rapid.SampledFrom(hubs).Draw(t, "resumed at"), position)
		r.readTo(t, ids(from.got[i:]))
		requireInOrder(t, r.got)
	})
}

func ids(events []stream.Streamed[admission.Event]) []uuid.UUID {
	found := make([]uuid.UUID, len(events))
	for i, e := range events {
		found[i] = e.Item.ID
	}
	return found
}

// requireInOrder says that of each workspace the events come one after the other.
func requireInOrder(t require.TestingT, events []stream.Streamed[admission.Event]) {
	sequence := make(map[uuid.UUID]int64)
	for _, e := range events {
		if before, seen := sequence[e.Item.WorkspaceID]; seen {
			require.Equal(t, before+1, e.Item.Sequence)
		}
		sequence[e.Item.WorkspaceID] = e.Item.Sequence
	}
}

func openSQLite(t testing.TB, path string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, BusyTimeout: patience})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, s.Migrate(t.Context()))
	return s
}

func online(ctx context.Context, s *sqlite.Store, id uuid.UUID) error {
	return s.PutWorkspace(ctx, id, admission.Workspace{Name: "w", Kind: "workspace", Status: new("online"), DeliveryMode: "push"})
}

// Two stores on one file are as two processes: neither hears the other's signal, and both poll.
func TestStreamIsTheSameForTwoStoresOnOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	stores := []*sqlite.Store{openSQLite(t, path), openSQLite(t, path)}
	var hubs []*stream.Hub[admission.Event]
	for _, s := range stores {
		hubs = append(hubs, start(t, s, stream.Options{Keep: 50, Poll: 10 * time.Millisecond}))
	}
	requireStreams(t, hubs, stores[0], func(worker, i int) error {
		id := uuid.UUID{14: byte(worker), 15: byte(i % 5)}
		err := online(t.Context(), stores[i%2], id)
		if err != nil {
			return err
		}
		return mark(t.Context(), stores[i%2], id)
	})
}

func TestSQLiteWakesItsOwnProcessWithoutAPoll(t *testing.T) {
	s := openSQLite(t, filepath.Join(t.TempDir(), "gatehouse.db"))
	hub := start(t, s, stream.Options{Poll: time.Hour})
	n, err := hub.Subscribe(t.Context(), stream.FromNow)
	require.NoError(t, err)
	read(t, n, 1)
	for i := range 3 {
		require.NoError(t, online(t.Context(), s, uuid.UUID{15: 1}))
		require.NoError(t, mark(t.Context(), s, uuid.UUID{15: 1}))
		require.EqualValues(t, i+1, readEvents(t, n, 1)[0].Item.Sequence)
	}
}

func BenchmarkSQLiteCommitToReader(b *testing.B) {
	s := openSQLite(b, filepath.Join(b.TempDir(), "gatehouse.db"))
	benchmark(b, start(b, s, stream.Options{}), 1, func(id uuid.UUID) error { return online(context.Background(), s, id) }, s)
}

// benchmark measures from the return of the commit to the event in the hands of the last reader.
func benchmark(b *testing.B, hub *stream.Hub[admission.Event], readers int, online func(uuid.UUID) error, s store) {
	var following []next
	for range readers {
		n, err := hub.Subscribe(b.Context(), stream.FromNow)
		require.NoError(b, err)
		read(b, n, 1)
		following = append(following, n)
	}
	var took []time.Duration
	arrived := make(chan time.Time, readers)
	for b.Loop() {
		id := uuid.New()
		require.NoError(b, online(id))
		for _, n := range following {
			go func() {
				for events, err := n(b.Context()); err == nil; events, err = n(b.Context()) {
					if slices.ContainsFunc(events, func(e stream.Streamed[admission.Event]) bool { return e.Item != nil }) {
						break
					}
				}
				arrived <- time.Now()
			}()
		}
		require.NoError(b, mark(b.Context(), s, id))
		committed := time.Now()
		var last time.Time
		for range readers {
			last = <-arrived
		}
		took = append(took, max(0, last.Sub(committed)))
	}
	slices.Sort(took)
	for name, share := range map[string]float64{"p50-µs": 0.5, "p99-µs": 0.99} {
		b.ReportMetric(float64(took[int(float64(len(took)-1)*share)].Microseconds()), name)
	}
}
