package announce_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/announce"
	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
	"github.com/molecule-ai/gatehouse/server/admission"
)

const (
	patience = 30 * time.Second
	tick     = 10 * time.Millisecond
)

// fastRetry keeps a test from waiting for retries.
var fastRetry = announce.Retry{First: 20 * time.Millisecond, Limit: 100 * time.Millisecond}

// workspaces is a store that knows only which workspaces have recovered, and
// that can be away.
type workspaces struct {
	away      atomic.Bool
	recovered sync.Map
	turnedOff sync.Map // who was asked for while it was away
}

func (w *workspaces) StillFailed(_ context.Context, id uuid.UUID) (bool, error) {
	if w.away.Load() {
		w.turnedOff.Store(id, true)
		return false, errors.New("the store is away")
	}
	_, recovered := w.recovered.Load(id)
	return !recovered, nil
}

// hasTurnedOff says whether an attempt of each event has come while the store was away. Then none is under way that began
// before: a job has one at a time.
func (w *workspaces) hasTurnedOff(events []admission.Event) bool {
	return !slices.ContainsFunc(events, func(event admission.Event) bool {
		_, turnedOff := w.turnedOff.Load(event.WorkspaceID)
		return !turnedOff
	})
}

// results counts what a relay observes.
type results struct {
	mu    sync.Mutex
	count map[string]int
}

func (r *results) observe(sink, result string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count == nil {
		r.count = make(map[string]int)
	}
	r.count[sink+" "+result]++
}

func (r *results) of(sink, result string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count[sink+" "+result]
}

// recorder is a sink that takes what it is given.
type recorder struct {
	name    string
	deliver func(ctx context.Context, job sinks.Job) error

	mu  sync.Mutex
	got map[uuid.UUID]int
}

func (r *recorder) Name() string { return r.name }

func (r *recorder) Deliver(ctx context.Context, job sinks.Job) error {
	if r.deliver != nil {
		err := r.deliver(ctx, job)
		if err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.got == nil {
		r.got = make(map[uuid.UUID]int)
	}
	r.got[job.EventID]++
	return nil
}

// times says how often each of events was delivered.
func (r *recorder) times(events []admission.Event) []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	times := make([]int, len(events))
	for i, event := range events {
		times[i] = r.got[event.ID]
	}
	return times
}

func (r *recorder) hasAll(events []admission.Event) bool {
	return !slices.Contains(r.times(events), 0)
}

// subscriber hears what the registry would hear.
type subscriber struct {
	mu       sync.Mutex
	messages map[string][]string // by workspace
}

func subscribe(t testing.TB, address string) *subscriber {
	t.Helper()
	s := &subscriber{messages: make(map[string][]string)}
	conn := redis.PubSubConn{Conn: dialRedis(t, address)}
	require.NoError(t, conn.Subscribe("events:broadcast"))
	_, confirmed := conn.Receive().(redis.Subscription)
	require.True(t, confirmed)

	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			switch heard := conn.Receive().(type) {
			case redis.Message:
				s.add(heard.Data)
			case error:
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = conn.Conn.Close()
		<-done
	})
	return s
}

func (s *subscriber) add(message []byte) {
	var read struct {
		WorkspaceID string `json:"workspace_id"`
	}
	_ = json.Unmarshal(message, &read)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages[read.WorkspaceID] = append(s.messages[read.WorkspaceID], string(message))
}

func (s *subscriber) heard(event admission.Event) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages[event.WorkspaceID.String()])
}

func (s *subscriber) requireAll(t testing.TB, events ...admission.Event) {
	t.Helper()
	require.Eventually(t, func() bool {
		return !slices.ContainsFunc(events, func(event admission.Event) bool { return len(s.heard(event)) == 0 })
	}, patience, tick)
}

func dialRedis(t testing.TB, address string) redis.Conn {
	t.Helper()
	conn, err := redis.DialURLContext(t.Context(), address)
	require.NoError(t, err)
	return conn
}

// newRedis is the sink of the registry's own Redis.
func newRedis(t testing.TB, address string, store sinks.Workspaces) sinks.Sink {
	t.Helper()
	opened, err := openRedis(address, store)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, opened.Close()) })
	return opened.All()[0]
}

func openRedis(address string, store sinks.Workspaces) (*announce.Sinks, error) {
	return announce.Open(announce.SinkConfigs{announce.RegistrySinkConfig(address)}, sinks.Dependencies{Workspaces: store})
}

// logBook is a log that tests can read while it is written.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBook) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logBook) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: level}))
}

// lines gives the members of each line that has this message.
func (l *logBook) lines(t testing.TB, message string) []map[string]any {
	t.Helper()
	var found []map[string]any
	for line := range bytes.Lines([]byte(l.String())) {
		var members map[string]any
		require.NoError(t, json.Unmarshal(line, &members))
		if members["msg"] == message {
			found = append(found, members)
		}
	}
	return found
}

// named are sinks that get every event.
func named(sinks ...string) announce.SinkConfigs {
	configs := make(announce.SinkConfigs, len(sinks))
	for i, name := range sinks {
		configs[i].Name = name
	}
	return configs
}
