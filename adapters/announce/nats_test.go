package announce_test

import (
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/announce"
	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
	"github.com/molecule-ai/gatehouse/internal/testenv"
)

// natsServer is a real server with JetStream in this process, that can be stopped
// and started at one address with one folder.
type natsServer struct {
	options *server.Options
	running *server.Server
}

func startNATS(t testing.TB) *natsServer {
	t.Helper()
	s := &natsServer{options: &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(),
		Username: "gatehouse", Password: password, NoLog: true, NoSigs: true,
	}}
	s.start(t)
	s.options.Port = s.running.Addr().(*net.TCPAddr).Port
	t.Cleanup(s.stop)
	return s
}

func (s *natsServer) start(t testing.TB) {
	t.Helper()
	started, err := server.NewServer(s.options.Clone())
	require.NoError(t, err)
	started.Start()
	require.True(t, started.ReadyForConnections(patience))
	s.running = started
}

func (s *natsServer) stop() {
	s.running.Shutdown()
	s.running.WaitForShutdown()
}

func (s *natsServer) url() string {
	return fmt.Sprintf("nats://gatehouse:%s@127.0.0.1:%d", password, s.options.Port)
}

// jetStream is a client of the test's own.
func (s *natsServer) jetStream(t testing.TB) jetstream.JetStream {
	t.Helper()
	conn, err := nats.Connect(s.url())
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	stream, err := jetstream.New(conn)
	require.NoError(t, err)
	return stream
}

func (s *natsServer) addStream(t testing.TB, subject string) jetstream.Stream {
	t.Helper()
	stream, err := s.jetStream(t).CreateStream(t.Context(), jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{subject}})
	require.NoError(t, err)
	return stream
}

func (s *natsServer) config(name string) announce.SinkConfig {
	return announce.SinkConfig{Name: name, Settings: s.settings()}
}

func (s *natsServer) settings() sinks.NATS {
	return sinks.NATS{URL: sinks.Secret(s.url())}
}

// messages are all that the stream has.
func messages(t testing.TB, stream jetstream.Stream) []*jetstream.RawStreamMsg {
	t.Helper()
	info, err := stream.Info(t.Context())
	require.NoError(t, err)
	got := make([]*jetstream.RawStreamMsg, 0, info.State.Msgs)
	for number := info.State.FirstSeq; number <= info.State.LastSeq; number++ {
		message, err := stream.GetMsg(t.Context(), number)
		require.NoError(t, err)
		got = append(got, message)
	}
	return got
}

func TestNATSStreamDropsRepeats(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	stream := server.addStream(t, "gatehouse.>")
	sink, job := openSink(t, sinks.Dependencies{}, server.settings()), newJob(t)
	for range 3 {
		require.NoError(t, sink.Deliver(t.Context(), job))
	}
	got := messages(t, stream)
	require.Len(t, got, 1)
	require.Equal(t, "gatehouse.events", got[0].Subject)
	require.Equal(t, job.EventID.String(), got[0].Header.Get("Nats-Msg-Id"))
	require.Equal(t, []string{"application/cloudevents+json"}, got[0].Header["content-type"])
	requireCloudEvent(t, string(got[0].Data))
	require.Contains(t, string(got[0].Data), job.WorkspaceID.String())
}

func TestNATSEventsWaitForAStream(t *testing.T) {
	t.Parallel()
	server, log, count := startNATS(t), &logBook{}, &results{}
	q := postgresQueue(t, openPostgres(t, testenv.DatabaseURL(t, testenv.Empty)))
	settings, event := server.settings(), newEvent(t)
	settings.Subject, settings.Stream = "registry.failed", "EVENTS"
	config := announce.SinkConfig{Name: "bus", Settings: settings}
	q.subscribe(t, config)
	options := announce.Options{Retry: fastRetry, Poll: tick, Log: log.logger(slog.LevelDebug), Observe: count.observe}
	q.start(t, options, openSinks(t, sinks.Dependencies{Log: options.Log}, config)...)

	q.announce(t, event)

	require.Eventually(t, func() bool { return count.of("bus", announce.Retried) > 1 }, patience, tick)
	failed := log.lines(t, "announcement was not delivered")
	require.Equal(t, `no JetStream stream takes the subject "registry.failed"`, failed[0]["error"])
	stream := server.addStream(t, "registry.*")
	q.requireEmpty(t)
	require.Len(t, messages(t, stream), 1)
}

func TestNATSDeliversEverythingOnceItIsBack(t *testing.T) {
	t.Parallel()
	server, log, count := startNATS(t), &logBook{}, &results{}
	stream := server.addStream(t, "gatehouse.events")
	q, events := postgresQueue(t, openPostgres(t, testenv.DatabaseURL(t, testenv.Empty))), newEvents(t, 30)
	q.subscribe(t, server.config("bus"))
	options := announce.Options{Retry: fastRetry, Poll: tick, Log: log.logger(slog.LevelDebug), Observe: count.observe}
	server.stop()
	// Also a sink that is opened while NATS is away.
	q.start(t, options, openSinks(t, sinks.Dependencies{Log: options.Log}, server.config("bus"))...)
	q.announce(t, events[:10]...)
	require.Eventually(t, func() bool { return count.of("bus", announce.Retried) > 20 }, patience, tick)
	server.start(t)
	q.announce(t, events[10:20]...)
	q.requireEmpty(t)
	server.stop()
	q.announce(t, events[20:]...)
	require.Eventually(t, func() bool { _, oldest, err := q.stats(t.Context()); return err == nil && oldest > 0 }, patience, tick)
	server.start(t)
	q.requireEmpty(t)

	seen := map[string]int{}
	for _, message := range messages(t, stream) {
		seen[message.Header.Get("Nats-Msg-Id")]++
	}
	for _, event := range events {
		require.Equal(t, 1, seen[event.ID.String()], "JetStream keeps its messages and knows duplicates")
	}
	require.Zero(t, count.of("bus", announce.Dead))
	requireNoSecrets(t, q, log)
}

func TestNATSRetriesAWrongPasswordAndDoesNotRepeatIt(t *testing.T) {
	t.Parallel()
	server, log := startNATS(t), &logBook{}
	server.addStream(t, "gatehouse.events")
	settings := sinks.NATS{URL: sinks.Secret(strings.Replace(server.url(), password, "outdated", 1))}
	sink := openSink(t, sinks.Dependencies{Log: log.logger(slog.LevelDebug)}, settings)
	require.Eventually(t, func() bool {
		err := sink.Deliver(t.Context(), newJob(t))
		require.Error(t, err)
		require.NotContains(t, err.Error(), "outdated")
		return strings.Contains(strings.ToLower(err.Error()), "authorization violation")
	}, patience, tick)
	server.stop()
	server.options.Password = "outdated"
	server.start(t)
	require.Eventually(t, func() bool { return sink.Deliver(t.Context(), newJob(t)) == nil }, patience, tick)
	require.NotContains(t, log.String(), "outdated")
}

func TestNATSRefusesAnotherStream(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	server.addStream(t, "gatehouse.events")
	settings := server.settings()
	settings.Stream = "AUDIT"
	err := openSink(t, sinks.Dependencies{}, settings).Deliver(t.Context(), newJob(t))
	require.ErrorContains(t, err, "expected stream does not match")
}
