package main_test

import (
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// gateway is a way to a server that can be shut: who comes then is refused, as by a server that is down. The server itself
// goes on, so that a test can listen to it before the way is open again.
type gateway struct {
	address, target string
	listener        net.Listener
	running         sync.WaitGroup

	mu     sync.Mutex
	isShut bool
	conns  []net.Conn
}

// newGateway gives the server's URL through an open gateway.
func newGateway(t *testing.T, server string) (*gateway, string) {
	t.Helper()
	address, err := url.Parse(server)
	require.NoError(t, err)
	g := &gateway{address: "127.0.0.1:0", target: address.Host}
	g.open(t)
	t.Cleanup(g.shut)
	address.Host = g.address
	return g, address.String()
}

func (g *gateway) open(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", g.address)
	require.NoError(t, err)
	g.listener, g.address, g.isShut = listener, listener.Addr().String(), false
	g.running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", g.target)
			if err != nil {
				_ = client.Close()
				continue
			}
			if !g.keep(client, server) {
				return
			}
			g.running.Go(func() { pass(server, client) })
			g.running.Go(func() { pass(client, server) })
		}
	})
}

func (g *gateway) keep(conns ...net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.isShut {
		for _, conn := range conns {
			_ = conn.Close()
		}
		return false
	}
	g.conns = append(g.conns, conns...)
	return true
}

func pass(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_, _ = to.Close(), from.Close()
}

// shut ends all connections. It may be called again.
func (g *gateway) shut() {
	_ = g.listener.Close()
	g.mu.Lock()
	g.isShut = true
	for _, conn := range g.conns {
		_ = conn.Close()
	}
	g.conns = nil
	g.mu.Unlock()
	g.running.Wait()
}
