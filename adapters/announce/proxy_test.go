package announce_test

import (
	"bufio"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
)

// forwardProxy is a proxy of HTTP: CONNECT for TLS, and whole requests for http.
type forwardProxy struct {
	*httptest.Server

	mu   sync.Mutex
	seen []string // methods, targets and logins
	says int      // instead of connecting; 0 to connect
}

func startProxy(t *testing.T) *forwardProxy {
	t.Helper()
	p := &forwardProxy{}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *forwardProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.seen = append(p.seen, r.Method+" "+r.Host+" "+r.Header.Get("Proxy-Authorization"))
	says := p.says
	p.mu.Unlock()
	switch {
	case says != 0:
		w.WriteHeader(says)
	case r.Method == http.MethodConnect:
		p.connect(w, r)
	default:
		r.RequestURI = ""
		answer, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer func() { _ = answer.Body.Close() }()
		w.WriteHeader(answer.StatusCode)
	}
}

func (p *forwardProxy) connect(w http.ResponseWriter, r *http.Request) {
	to, err := net.Dial("tcp", r.Host)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	from, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		_ = to.Close()
		return
	}
	_, _ = io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n")
	go func() { _, _ = io.Copy(to, bufio.NewReader(buffered)); _ = to.Close() }()
	_, _ = io.Copy(from, to)
	_ = from.Close()
}

func (p *forwardProxy) log() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen
}

// A webhook goes through a proxy only if it is told to: a proxy of the environment alone is not used, because it would
// go where Gatehouse itself refuses to go.
func TestWebhookUsesAProxyOnlyWhereConfigured(t *testing.T) {
	proxy, receiver := startProxy(t), newReceiver(t, nil)
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("HTTPS_PROXY", proxy.URL)
	t.Setenv("NO_PROXY", "")
	login := strings.Replace(proxy.URL, "http://", "http://gatehouse:"+password+"@", 1)
	_, inFile := secretFile(t, login)
	for name, test := range map[string]struct {
		proxy sinks.Secret
		seen  string // "" where the proxy must hear of nothing
	}{
		"none":      {"", ""},
		"a URL":     {sinks.Secret(proxy.URL), ""},
		"in a file": {inFile, "Basic " + base64.StdEncoding.EncodeToString([]byte("gatehouse:"+password))},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(proxy.log())
			settings := receiver.settings(t)
			settings.Proxy = test.proxy
			require.NoError(t, openSink(t, sinks.Dependencies{}, settings).Deliver(t.Context(), newJob(t)))
			if test.proxy == "" {
				require.Len(t, proxy.log(), before)
				return
			}
			require.Equal(t, []string{"POST " + receiver.Listener.Addr().String() + " " + test.seen}, proxy.log()[before:])
		})
	}
}

// To a target with TLS a proxy connects, and sees nothing of the request; what it answers instead is told. The name in
// the URL, which nobody but the proxy can look up, is no reason to refuse, but an address that is not public is.
func TestWebhookConnectsToTLSThroughAProxy(t *testing.T) {
	proxy := startProxy(t)
	t.Setenv("HTTPS_PROXY", proxy.URL)
	t.Setenv("NO_PROXY", "internal.example.com")
	target := sinks.Webhook{
		URL: "https://hooks.example.invalid/x", Secrets: []sinks.Secret{testSecret}, Proxy: "environment",
	}
	sink := openSink(t, sinks.Dependencies{}, target)
	require.Error(t, sink.Deliver(t.Context(), newJob(t)))
	require.Equal(t, []string{"CONNECT hooks.example.invalid:443 "}, proxy.log())
	proxy.mu.Lock()
	proxy.says = http.StatusProxyAuthRequired
	proxy.mu.Unlock()
	require.EqualError(t, sink.Deliver(t.Context(), newJob(t)), "connecting: the proxy answered 407")

	target.URL = "https://internal.example.com/x"
	direct := openSink(t, sinks.Dependencies{}, target)
	require.Error(t, direct.Deliver(t.Context(), newJob(t)))
	require.Len(t, proxy.log(), 2, "NO_PROXY is heard")

	for url, says := range map[sinks.Secret]string{
		"https://127.0.0.1/x": "url: not a public address",
		"http://example.com":  "url: want https",
	} {
		target.URL = url
		require.ErrorContains(t, target.Validate(), says)
	}
	target.URL = "https://example.com"
	for _, bad := range []sinks.Secret{"hunter2", "ftp://hunter2@x", "http://", "http://[hunter2"} {
		target.Proxy = bad
		err := target.Validate()
		require.ErrorContains(t, err, "proxy: want environment, or http://host:port")
		require.NotContains(t, err.Error(), "hunter2")
	}
}
