package announce_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
)

func TestWebhookRefusesNamesOfPrivateAddresses(t *testing.T) {
	var called atomic.Int64
	receiver := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called.Add(1) }))
	receiver.Config.ErrorLog = nil
	defer receiver.Close()
	_, port, err := net.SplitHostPort(receiver.Listener.Addr().String())
	require.NoError(t, err)
	for name, addresses := range map[string][]string{
		"localhost":             nil,
		"hooks.example.com":     {"127.0.0.1"},
		"many.example.com":      {"10.1.2.3", "127.0.0.1", "169.254.169.254"},
		"localhost.example.com": {"0.0.0.0"},
	} {
		t.Run(name, func(t *testing.T) {
			asked := &atomic.Int64{}
			deps := sinks.Dependencies{Resolver: nameServer(t, addresses, asked)}
			sink := openSink(t, deps, sinks.Webhook{
				Secrets: []sinks.Secret{testSecret}, URL: sinks.Secret("https://" + name + ":" + port + "/?token=" + password),
			})
			for range 2 {
				err := sink.Deliver(t.Context(), newJob(t))
				require.EqualError(t, err, "connecting: not a public address, and allow_private is off")
			}
			if addresses != nil {
				require.GreaterOrEqual(t, asked.Load(), int64(2), "each attempt looks the name up")
			}
		})
	}
	require.Zero(t, called.Load())
}

// nameServer answers every question for an IPv4 address with addresses. Go asks
// over what looks like TCP, because a pipe is no packet connection.
func nameServer(t *testing.T, addresses []string, asked *atomic.Int64) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer func() { _ = server.Close() }()
			asked.Add(1)
			err := answerName(server, addresses)
			if err != nil {
				t.Error(err)
			}
		}()
		return client, nil
	}}
}

func answerName(conn net.Conn, addresses []string) error {
	var length uint16
	err := binary.Read(conn, binary.BigEndian, &length)
	if err != nil {
		return err
	}
	question := make([]byte, length)
	_, err = io.ReadFull(conn, question)
	if err != nil {
		return err
	}
	var message dnsmessage.Message
	err = message.Unpack(question)
	if err != nil {
		return err
	}
	message.Response, message.Additionals = true, nil
	for _, address := range addresses {
		if message.Questions[0].Type != dnsmessage.TypeA {
			break
		}
		message.Answers = append(message.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: message.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 0},
			Body:   &dnsmessage.AResource{A: netip.MustParseAddr(address).As4()},
		})
	}
	answer, err := message.Pack()
	if err != nil {
		return err
	}
	_, err = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
	return err
}
