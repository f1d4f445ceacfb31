package main_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/policies"
)

// subscribers are one sink of each type, real ones, that count what they see of each event.
type subscribers struct {
	t       *testing.T
	redis   string
	webhook *httptest.Server
	nats    *natsserver.Server

	mu   sync.Mutex
	seen map[string]map[string]int // by sink, then by event (webhook, nats) or workspace (redis)
}

func newSubscribers(t *testing.T) *subscribers {
	t.Helper()
	s := &subscribers{t: t, redis: testenv.RedisURL(t), seen: map[string]map[string]int{"hook": {}, "bus": {}, "registry": {}}}
	verifier, err := standardwebhooks.NewWebhook(cmdtest.WebhookSecret)
	require.NoError(t, err)
	s.webhook = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || verifier.Verify(body, r.Header) != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		s.saw("hook", r.Header.Get("webhook-id"))
	}))
	t.Cleanup(s.webhook.Close)
	s.listenOnBus()
	s.listenToRegistry()
	return s
}

func (s *subscribers) saw(sink, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[sink][key]++
}

// listenOnBus starts a real NATS server with JetStream. Its stream drops repeats of a message id, so what it
// holds is read at the end and not counted.
func (s *subscribers) listenOnBus() {
	server, err := natsserver.NewServer(&natsserver.Options{
		Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, JetStream: true, StoreDir: s.t.TempDir(), NoLog: true, NoSigs: true,
	})
	require.NoError(s.t, err)
	server.Start()
	require.True(s.t, server.ReadyForConnections(cmdtest.Patience))
	s.nats = server
	s.t.Cleanup(func() {
		server.Shutdown()
		server.WaitForShutdown()
	})
	connection, err := nats.Connect(server.ClientURL())
	require.NoError(s.t, err)
	s.t.Cleanup(connection.Close)
	stream, err := jetstream.New(connection)
	require.NoError(s.t, err)
	_, err = stream.CreateStream(s.t.Context(), jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"gatehouse.events"}})
	require.NoError(s.t, err)
	_, err = connection.Subscribe("gatehouse.events", func(m *nats.Msg) { s.saw("bus", m.Header.Get(nats.MsgIdHdr)) })
	require.NoError(s.t, err)
	require.NoError(s.t, connection.Flush())
}

func (s *subscribers) listenToRegistry() {
	heard := cmdtest.Subscribe(s.t, s.redis)
	done := make(chan struct{})
	s.t.Cleanup(func() { close(done) })
	go func() {
		for {
			select {
			case message := <-heard.Messages:
				if id := cmdtest.WorkspaceOf(message); id != "" {
					s.saw("registry", id)
				}
			case <-done:
				return
			}
		}
	}()
}

// config writes a configuration file that names all of them.
func (s *subscribers) config() string {
	path := filepath.Join(s.t.TempDir(), "gatehouse.yaml")
	text := fmt.Sprintf(`
sinks:
  - {name: hook, type: webhook, url: %q, secrets: [%q], retry_for: 1h, allow_private: true}
  - {name: registry, type: redis, url: %q, channel: "events:broadcast"}
  - {name: bus, type: nats, url: %q, subject: gatehouse.events}
`, s.webhook.URL, cmdtest.WebhookSecret, s.redis, s.nats.ClientURL())
	require.NoError(s.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// missing says which of the committed events a sink has not seen, and how often it saw one again.
func (s *subscribers) missing(reg *cmdtest.Registry) (missing, repeats int) {
	rows, err := reg.Pool.Query(s.t.Context(), `select id::text, workspace_id::text from gatehouse.events`)
	require.NoError(s.t, err)
	defer rows.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for rows.Next() {
		var event, workspace string
		require.NoError(s.t, rows.Scan(&event, &workspace))
		for sink, key := range map[string]string{"hook": event, "bus": event, "registry": workspace} {
			n := s.seen[sink][key]
			if n == 0 {
				missing++
				continue
			}
			repeats += n - 1
		}
	}
	require.NoError(s.t, rows.Err())
	return missing, repeats
}

// strictPolicies are the embedded ones with data under which every ordinary workspace needs a secret, so that a
// test can have as many bad workspaces as it likes: the registry has one platform row.
func strictPolicies(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	require.NoError(t, os.CopyFS(folder, policies.FS))
	data, err := os.ReadFile(filepath.Join(folder, "data.yaml"))
	require.NoError(t, err)
	changed := cmdtest.ReplaceOnce(t, string(data), "  platform: [MODEL]\n", "  platform: [MODEL]\n  workspace: [TOKEN]\n")
	require.NoError(t, os.WriteFile(filepath.Join(folder, "data.yaml"), []byte(changed), 0o600))
	return folder
}

// requireLedgerOnce requires that each bad workspace that was marked has one event, in the ledger and in the
// registry's own table, and one decision that made it.
func requireLedgerOnce(t *testing.T, reg *cmdtest.Registry) {
	t.Helper()
	marked := reg.Count(`select count(*) from workspaces where status = 'failed'`)
	require.Equal(t, marked, reg.Count(`select count(*) from gatehouse.events`))
	require.Equal(t, marked, reg.Count(`select count(distinct workspace_id) from gatehouse.events`))
	require.Equal(t, marked, reg.Count(`select count(*) from structure_events`))
	require.Equal(t, marked, reg.Count(`select count(*) from gatehouse.decisions where marked_failed`))
}

// registerAll registers workspaces from several callers until all are answered or the program is gone.
func registerAll(gate *cmdtest.Program, ids []uuid.UUID, answered func(cmdtest.WireAnswer)) {
	queue := make(chan uuid.UUID, len(ids))
	for _, id := range ids {
		queue <- id
	}
	close(queue)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for id := range queue {
				status, text := gate.Post("/v1/admission/register", cmdtest.RegisterBody(id))
				if status == http.StatusOK {
					answered(cmdtest.ParseAnswer(gate.T, text))
				}
			}
		})
	}
	group.Wait()
}

func badWorkspaces(reg *cmdtest.Registry, n int) []uuid.UUID {
	ids := make([]uuid.UUID, n)
	for i := range ids {
		ids[i] = reg.Workspace("workspace", "provisioning")
	}
	return ids
}

// takeover is how long what a killed process had in hand may take until another one has it done: delivered or not,
// its jobs are under way until they are taken for stuck.
const takeover = 3 * time.Minute

// Promise 3: whatever moment the process dies at, between a deny's commit and its deliveries above all.
func TestKill9BetweenCommitAndDeliveryLosesNoAnnouncement(t *testing.T) {
	t.Parallel() // most of its time it waits until the jobs of the killed are taken over
	database := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	reg, sinks := cmdtest.NewRegistry(t, database), newSubscribers(t)
	args := append([]string{"--config", sinks.config(), "--policies", strictPolicies(t), "--database-url", database}, cmdtest.Patient...)

	for range cmdtest.Effort(6, 50) {
		gate := cmdtest.Start(t, args...).WaitReady()
		ids := badWorkspaces(reg, 12)
		kill := 1 + rand.IntN(len(ids)) //nolint:gosec // any moment will do
		var once sync.Once
		var mu sync.Mutex
		answers := 0
		registerAll(gate, ids, func(cmdtest.WireAnswer) {
			mu.Lock()
			defer mu.Unlock()
			answers++
			if answers >= kill {
				once.Do(func() { _ = gate.Command.Process.Kill() })
			}
		})
		gate.Kill()
	}

	gate := cmdtest.Start(t, args...).WaitReady()
	require.Eventually(t, func() bool {
		missing, _ := sinks.missing(reg)
		return missing == 0
	}, takeover, 50*time.Millisecond, "announcements are lost")
	requireLedgerOnce(t, reg)
	_, repeats := sinks.missing(reg)
	t.Logf("%d events to 3 sinks, %d repeats", reg.Count(`select count(*) from gatehouse.events`), repeats)
	gate.End()
}

func TestTwoReplicasOfWhichOneDiesLoseNothing(t *testing.T) {
	t.Parallel() // as above
	database := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	reg, sinks := cmdtest.NewRegistry(t, database), newSubscribers(t)
	args := append([]string{"--config", sinks.config(), "--policies", strictPolicies(t), "--database-url", database}, cmdtest.Patient...)
	first, second := cmdtest.Start(t, args...).WaitReady(), cmdtest.Start(t, args...).WaitReady()
	ids := badWorkspaces(reg, cmdtest.Effort(400, 2000))

	var group sync.WaitGroup
	var once sync.Once
	var mu sync.Mutex
	answers := 0
	group.Go(func() {
		registerAll(first, ids[:len(ids)/2], func(cmdtest.WireAnswer) {
			mu.Lock()
			defer mu.Unlock()
			answers++
			if answers == len(ids)/4 {
				once.Do(func() { _ = first.Command.Process.Kill() })
			}
		})
	})
	group.Go(func() { registerAll(second, ids[len(ids)/2:], func(cmdtest.WireAnswer) {}) })
	group.Wait()
	first.Kill()
	registerAll(second, ids, func(cmdtest.WireAnswer) {}) // the registry asks again where it got no answer

	require.Equal(t, len(ids), reg.Count(`select count(*) from workspaces where status = 'failed'`))
	require.Eventually(t, func() bool {
		missing, _ := sinks.missing(reg)
		return missing == 0
	}, takeover, 50*time.Millisecond, "announcements are lost")
	requireLedgerOnce(t, reg)
	_, repeats := sinks.missing(reg)
	t.Logf("%d events to 3 sinks, %d repeats", len(ids), repeats)
	require.Eventually(t, func() bool { return pending(second) == 0 }, takeover, 50*time.Millisecond)
}

// pending sums the series of gatehouse_outbox_pending.
func pending(p *cmdtest.Program) int {
	sum := 0
	for _, sink := range []string{"hook", "bus", "registry"} {
		n, err := strconv.Atoi(p.Metric(fmt.Sprintf("gatehouse_outbox_pending{sink=%q}", sink)))
		if err != nil {
			return -1
		}
		sum += n
	}
	return sum
}
