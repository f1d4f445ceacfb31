package announce_test

import (
	"bufio"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/announce"
	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
	"github.com/molecule-ai/gatehouse/internal/testenv"
)

// secretFile is a file, and how a configuration refers to it.
func secretFile(t *testing.T, text string) (path string, reference sinks.Secret) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "secret")
	rewrite(t, path, text)
	return path, sinks.Secret("file:" + path)
}

func rewrite(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

// A webhook's secret in a file that changes signs the next request; what is empty or half a secret changes nothing.
func TestAWebhookSignsWithTheSecretThatIsInTheFileNow(t *testing.T) {
	next := "whsec_" + base64.StdEncoding.EncodeToString([]byte("another secret, which is as long"))
	receiver := newReceiver(t, nil)
	settings := receiver.settings(t)
	path, reference := secretFile(t, testSecret+"\n")
	settings.Secrets = []sinks.Secret{reference}
	sink := openSink(t, sinks.Dependencies{}, settings)
	deliver := func() error {
		require.NoError(t, sink.Deliver(t.Context(), newJob(t)))
		heard := receiver.heard()
		return heard[len(heard)-1].valid
	}
	require.NoError(t, deliver())

	for _, bad := range []string{"", "\n", "whsec_", next[:20], "no secret"} {
		rewrite(t, path, bad)
		require.NoError(t, deliver(), "the old one signs")
	}
	rewrite(t, path, next)
	require.Error(t, deliver(), "the old one does not sign any more")
	verifier, err := standardwebhooks.NewWebhook(next)
	require.NoError(t, err)
	receiver.mu.Lock()
	receiver.verifier = verifier
	receiver.mu.Unlock()
	require.NoError(t, deliver())
	require.NoError(t, os.Remove(path))
	require.NoError(t, deliver())
}

// A webhook's URL in a file that changes is where the next request goes.
func TestAWebhookGoesToTheURLThatIsInTheFileNow(t *testing.T) {
	first, second := newReceiver(t, nil), newReceiver(t, nil)
	settings := first.settings(t)
	path, reference := secretFile(t, string(settings.URL))
	settings.URL = reference
	sink := openSink(t, sinks.Dependencies{}, settings)
	require.NoError(t, sink.Deliver(t.Context(), newJob(t)))
	rewrite(t, path, "ftp://example.com")
	require.NoError(t, sink.Deliver(t.Context(), newJob(t)))
	rewrite(t, path, string(second.settings(t).URL))
	require.NoError(t, sink.Deliver(t.Context(), newJob(t)))
	require.Len(t, first.heard(), 2)
	require.Len(t, second.heard(), 1)
}

// A password of Redis in a file that changes logs the next connection in.
func TestRedisLogsInWithThePasswordThatIsInTheFileNow(t *testing.T) {
	t.Parallel()
	server := testenv.OwnRedis(t)
	right, err := url.Parse(server.URL())
	require.NoError(t, err)
	wrong := *right
	wrong.User = url.UserPassword("default", password)
	path, reference := secretFile(t, wrong.String())
	sink := openSink(t, sinks.Dependencies{}, sinks.Redis{URL: reference})
	require.ErrorContains(t, sink.Deliver(t.Context(), sinks.Job{Message: "{}"}), "WRONGPASS")

	rewrite(t, path, right.String())
	require.NoError(t, sink.Deliver(t.Context(), sinks.Job{Message: "{}"}))
}

// A password of NATS in a file that changes logs the next connection in, also when the old one is refused by then.
func TestNATSLogsInWithThePasswordThatIsInTheFileNow(t *testing.T) {
	server := startNATS(t)
	server.addStream(t, "gatehouse.events")
	path, reference := secretFile(t, server.url())
	sink := openSink(t, sinks.Dependencies{}, sinks.NATS{URL: reference})
	require.Eventually(t, func() bool { return sink.Deliver(t.Context(), newJob(t)) == nil }, patience, tick)

	server.stop()
	server.options.Password = "changed-password"
	server.start(t)
	rewrite(t, path, strings.Replace(server.url(), password, "changed-password", 1))
	require.Eventually(t, func() bool { return sink.Deliver(t.Context(), newJob(t)) == nil }, patience, tick)
}

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
func TestAWebhookGoesThroughAProxyOnlyIfItIsTold(t *testing.T) {
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
func TestAProxyConnectsAWebhookToTLS(t *testing.T) {
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

// The source of events is a URI reference that is not empty, as CloudEvents wants it.
func TestTheSourceOfEventsIsAURIReference(t *testing.T) {
	for _, good := range []string{
		"gatehouse", "/eu/gatehouse", "https://gatehouse.example.com/eu?x=1#y", "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
		"mailto:ops@example.com", "//host/path", "a%20b", "1-555-123-4567",
	} {
		require.NoError(t, sinks.CheckSource(good), good)
	}
	for _, bad := range []string{"", " ", "a b", "a\nb", "ä", "a%2", "a%zz", "http://[::1", `a\b`, "<x>", "a|b", "1:2:/", "{x}"} {
		require.ErrorContains(t, sinks.CheckSource(bad), "is not a URI reference", "%q", bad)
	}
	_, err := announce.Open(nil, sinks.Dependencies{Source: "a b"})
	require.Error(t, err)
}
