package stream

import (
	"context"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// memory is a ledger whose transactions begin and end when a test says so.
type memory struct {
	mu        sync.Mutex
	last      int64
	open      map[int64]admission.Event // by seq
	committed []ledger.Event            // in the order of seq
	numbers   map[uuid.UUID]int64
	wakes     []func()
	fail      error
	reads     int
	onRead    func() // called before each read, for what happens between two of them
}

func newMemory() *memory {
	return &memory{open: make(map[int64]admission.Event), numbers: make(map[uuid.UUID]int64)}
}

func workspace(n int) uuid.UUID { return uuid.UUID{15: byte(n)} }

// begin takes a seq for an event of a workspace, which must have no other transaction open.
func (m *memory) begin(id uuid.UUID) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last++
	m.open[m.last] = admission.Event{ID: uuid.New(), Event: admission.ProvisionFailed, WorkspaceID: id, Sequence: m.numbers[id] + 1}
	return m.last
}

func (m *memory) busy(id uuid.UUID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, event := range m.open {
		if event.WorkspaceID == id {
			return true
		}
	}
	return false
}

func (m *memory) commit(seq int64) {
	m.mu.Lock()
	event := m.open[seq]
	delete(m.open, seq)
	m.numbers[event.WorkspaceID]++
	m.committed = append(m.committed, ledger.Event{Seq: seq, Event: event})
	slices.SortFunc(m.committed, func(a, b ledger.Event) int { return int(a.Seq - b.Seq) })
	wakes := slices.Clone(m.wakes)
	m.mu.Unlock()
	for _, wake := range wakes {
		wake()
	}
}

func (m *memory) rollBack(seq int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.open, seq)
}

// write commits n events of a workspace.
func (m *memory) write(id uuid.UUID, n int) {
	for range n {
		m.commit(m.begin(id))
	}
}

func (m *memory) failing(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

func (m *memory) all() []ledger.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.committed)
}

func (m *memory) readSoFar() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reads
}

func (m *memory) EventsAfter(_ context.Context, after int64, limit int) ([]ledger.Event, error) {
	if m.onRead != nil {
		m.onRead()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	i, _ := slices.BinarySearchFunc(m.committed, after+1, func(e ledger.Event, seq int64) int { return int(e.Seq - seq) })
	return slices.Clone(m.committed[i:min(len(m.committed), i+limit)]), m.fail
}

func (m *memory) LastEventSeq(context.Context) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.committed) == 0 {
		return 0, m.fail
	}
	return m.committed[len(m.committed)-1].Seq, m.fail
}

func (m *memory) EventWriters(context.Context) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var writers []string
	for seq := range m.open {
		writers = append(writers, strconv.FormatInt(seq, 10))
	}
	return writers, m.fail
}

func (m *memory) ListenEvents(ctx context.Context, wake func()) {
	m.mu.Lock()
	m.wakes = append(m.wakes, wake)
	m.mu.Unlock()
	wake()
	<-ctx.Done()
}

// never is a long time: what is to be woken is woken.
const never = time.Hour

// hubOn is a hub that the ledger wakes.
func hubOn(m *memory, options Options) *Hub[admission.Event] {
	options.Listen = m.ListenEvents
	return New(Events(m), options)
}

func started(t testing.TB, m *memory, options Options) *Hub[admission.Event] {
	t.Helper()
	h := hubOn(m, options)
	h.Start()
	t.Cleanup(h.Close)
	return h
}
