package announce_test

import (
	"fmt"
	"net"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
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
