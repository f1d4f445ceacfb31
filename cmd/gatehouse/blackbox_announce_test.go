package main

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

	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/policies"
)

// effort is how much a fault test does: a bounded part of it in make test, all of it in make soak.
func effort(bounded, soak int) int {
	if os.Getenv("GATEHOUSE_SOAK") != "" {
		return soak
	}
	return bounded
}

const webhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

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
	verifier, err := standardwebhooks.NewWebhook(webhookSecret)
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
	require.True(s.t, server.ReadyForConnections(patience))
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
	heard := subscribe(s.t, s.redis)
	done := make(chan struct{})
	s.t.Cleanup(func() { close(done) })
	go func() {
		for {
			select {
			case message := <-heard.messages:
				if id := workspaceOf(message); id != "" {
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
`, s.webhook.URL, webhookSecret, s.redis, s.nats.ClientURL())
	require.NoError(s.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// missing says which of the committed events a sink has not seen, and how often it saw one again.
func (s *subscribers) missing(reg *registry) (missing, repeats int) {
	rows, err := reg.pool.Query(s.t.Context(), `select id::text, workspace_id::text from gatehouse.events`)
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
	changed := replaceOnce(t, string(data), "  platform: [MODEL]\n", "  platform: [MODEL]\n  workspace: [TOKEN]\n")
	require.NoError(t, os.WriteFile(filepath.Join(folder, "data.yaml"), []byte(changed), 0o600))
	return folder
}

// requireLedgerOnce requires that each bad workspace that was marked has one event, in the ledger and in the
// registry's own table, and one decision that made it.
func requireLedgerOnce(t *testing.T, reg *registry) {
	t.Helper()
	marked := reg.count(`select count(*) from workspaces where status = 'failed'`)
	require.Equal(t, marked, reg.count(`select count(*) from gatehouse.events`))
	require.Equal(t, marked, reg.count(`select count(distinct workspace_id) from gatehouse.events`))
	require.Equal(t, marked, reg.count(`select count(*) from structure_events`))
	require.Equal(t, marked, reg.count(`select count(*) from gatehouse.decisions where marked_failed`))
}

// registerAll registers workspaces from several callers until all are answered or the program is gone.
func registerAll(gate *program, ids []uuid.UUID, answered func(wireAnswer)) {
	queue := make(chan uuid.UUID, len(ids))
	for _, id := range ids {
		queue <- id
	}
	close(queue)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for id := range queue {
				status, text := gate.post("/v1/admission/register", registerBody(id))
				if status == http.StatusOK {
					answered(parseAnswer(gate.t, text))
				}
			}
		})
	}
	group.Wait()
}

func badWorkspaces(reg *registry, n int) []uuid.UUID {
	ids := make([]uuid.UUID, n)
	for i := range ids {
		ids[i] = reg.workspace("workspace", "provisioning")
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
	reg, sinks := newRegistry(t, database), newSubscribers(t)
	args := append([]string{"--config", sinks.config(), "--policies", strictPolicies(t), "--database-url", database}, patient...)

	for range effort(6, 50) {
		gate := start(t, args...).waitReady()
		ids := badWorkspaces(reg, 12)
		kill := 1 + rand.IntN(len(ids)) //nolint:gosec // any moment will do
		var once sync.Once
		var mu sync.Mutex
		answers := 0
		registerAll(gate, ids, func(wireAnswer) {
			mu.Lock()
			defer mu.Unlock()
			answers++
			if answers >= kill {
				once.Do(func() { _ = gate.command.Process.Kill() })
			}
		})
		gate.kill()
	}

	gate := start(t, args...).waitReady()
	require.Eventually(t, func() bool {
		missing, _ := sinks.missing(reg)
		return missing == 0
	}, takeover, 50*time.Millisecond, "announcements are lost")
	requireLedgerOnce(t, reg)
	_, repeats := sinks.missing(reg)
	t.Logf("%d events to 3 sinks, %d repeats", reg.count(`select count(*) from gatehouse.events`), repeats)
	gate.end()
}

func TestTwoReplicasOfWhichOneDiesLoseNothing(t *testing.T) {
	t.Parallel() // as above
	database := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	reg, sinks := newRegistry(t, database), newSubscribers(t)
	args := append([]string{"--config", sinks.config(), "--policies", strictPolicies(t), "--database-url", database}, patient...)
	first, second := start(t, args...).waitReady(), start(t, args...).waitReady()
	ids := badWorkspaces(reg, effort(400, 2000))

	var group sync.WaitGroup
	var once sync.Once
	var mu sync.Mutex
	answers := 0
	group.Go(func() {
		registerAll(first, ids[:len(ids)/2], func(wireAnswer) {
			mu.Lock()
			defer mu.Unlock()
			answers++
			if answers == len(ids)/4 {
				once.Do(func() { _ = first.command.Process.Kill() })
			}
		})
	})
	group.Go(func() { registerAll(second, ids[len(ids)/2:], func(wireAnswer) {}) })
	group.Wait()
	first.kill()
	registerAll(second, ids, func(wireAnswer) {}) // the registry asks again where it got no answer

	require.Equal(t, len(ids), reg.count(`select count(*) from workspaces where status = 'failed'`))
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
func pending(p *program) int {
	sum := 0
	for _, sink := range []string{"hook", "bus", "registry"} {
		n, err := strconv.Atoi(p.metric(fmt.Sprintf("gatehouse_outbox_pending{sink=%q}", sink)))
		if err != nil {
			return -1
		}
		sum += n
	}
	return sum
}
