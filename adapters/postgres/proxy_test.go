package postgres_test

import (
	"bytes"
	"net"
	"net/url"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// proxy stands between a store and its database and can freeze: connections stay open, new ones are taken, and
// no byte goes through, as with a stopped server or a network that drops packets. It can also cut one client off.
type proxy struct {
	listener net.Listener
	target   string
	running  sync.WaitGroup

	mu     sync.Mutex
	flow   *sync.Cond // frozen or ended has changed
	froze  bool
	ended  bool
	asks   bool // it was a client who spoke last
	trips  int  // how often a client spoke after a server
	conns  []net.Conn
	doomed []string // addresses of clients who are cut off
}

// newProxy gives the URL of the database through a proxy.
func newProxy(t *testing.T, database string) (*proxy, string) {
	t.Helper()
	address, err := url.Parse(database)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: listener, target: address.Host}
	p.flow = sync.NewCond(&p.mu)
	p.running.Go(p.accept)
	t.Cleanup(p.close)
	address.Host = listener.Addr().String()
	return p, address.String()
}

func (p *proxy) freeze(frozen bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.froze = frozen
	p.flow.Broadcast()
}

func (p *proxy) close() {
	p.mu.Lock()
	p.ended = true
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.flow.Broadcast()
	p.mu.Unlock()
	_ = p.listener.Close()
	p.running.Wait()
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		if !p.keep(client, server) {
			return
		}
		p.running.Go(func() { p.copy(client, server, true) })
		p.running.Go(func() { p.copy(server, client, false) })
	}
}

func (p *proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		for _, c := range conns {
			_ = c.Close()
		}
		return false
	}
	p.conns = append(p.conns, conns...)
	return true
}

func (p *proxy) copy(from, to net.Conn, asks bool) {
	defer func() { _, _ = from.Close(), to.Close() }()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil || !p.flows() {
			return
		}
		p.count(asks)
		if p.loses(buffer[:n], to, asks) {
			return
		}
		_, err = to.Write(buffer[:n])
		if err != nil {
			return
		}
	}
}

// cutAfterCommit cuts the client with this address off when the server answers that it has committed.
func (p *proxy) cutAfterCommit(client net.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doomed = append(p.doomed, client.String())
}

// cut cuts the client with this address off.
func (p *proxy) cut(client net.Addr) {
	p.cutAfterCommit(client)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		if c.RemoteAddr().String() == client.String() {
			_ = c.Close()
		}
	}
}

// loses says that a message is lost, and the connection with it. Who is cut off asks the server over a connection of its
// own to end what it was doing, which is lost as well: the server goes on.
func (p *proxy) loses(message []byte, to net.Conn, asks bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.doomed) == 0 {
		return false
	}
	if asks {
		return bytes.HasPrefix(message, []byte{0, 0, 0, 16, 4, 210, 22, 46}) // CancelRequest
	}
	return slices.Contains(p.doomed, to.RemoteAddr().String()) && bytes.Contains(message, []byte("COMMIT\x00"))
}

func (p *proxy) count(asks bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if asks && !p.asks {
		p.trips++
	}
	p.asks = asks
}

// roundTrips is how many there have been while only one connection was busy.
func (p *proxy) roundTrips() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.trips
}

// flows waits while the proxy is frozen.
func (p *proxy) flows() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.froze && !p.ended {
		p.flow.Wait()
	}
	return !p.ended
}
