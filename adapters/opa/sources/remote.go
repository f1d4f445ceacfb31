package sources

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/molecule-ai/gatehouse/internal/rereadfile"
	"github.com/molecule-ai/gatehouse/internal/retryafter"
)

// remote is a place that is asked over HTTP.
type remote struct {
	place

	transport *transport
	client    *http.Client
}

func newRemote(name string, options Options) (remote, error) {
	transport, err := options.transport()
	if err != nil {
		return remote{}, fmt.Errorf("policies from %s: %w", name, err)
	}
	client := &http.Client{Transport: transport, CheckRedirect: noDowngrade}
	return remote{newPlace(name, options, pollServers), transport, client}, nil
}

// close lets go of the connections.
func (r *remote) close() { r.transport.CloseIdleConnections() }

// later is the Retry-After of the server's last answer, zero if it had none.
func (r *remote) later() time.Duration { return time.Duration(r.transport.later.Load()) }

// transport uses the configured certificates and the proxy of the environment (HTTPS_PROXY, NO_PROXY). It reads certificates
// again when their files change. A file that cannot be read is an error at the start, and never makes a connection less safe.
func (o Options) transport() (*transport, error) {
	if (o.CertFile == "") != (o.KeyFile == "") {
		return nil, errors.New("a client certificate needs both the certificate and its key")
	}
	var paths []string
	for _, path := range []string{o.CAFile, o.CertFile, o.KeyFile} {
		if path != "" {
			paths = append(paths, path)
		}
	}
	current, err := rereadfile.Open("policies-certificates", o.Report, o.newTransport, paths...)
	if err != nil {
		return nil, err
	}
	return &transport{current: current}, nil
}

// newTransport is given the contents of the configured files, in the order in which transport names them.
func (o Options) newTransport(contents [][]byte) (*http.Transport, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAFile != "" {
		roots, err := x509.SystemCertPool()
		if err != nil {
			return nil, err
		}
		if !roots.AppendCertsFromPEM(contents[0]) {
			return nil, fmt.Errorf("%s holds no certificate", o.CAFile)
		}
		config.RootCAs, contents = roots, contents[1:]
	}
	if o.CertFile != "" {
		certificate, err := tls.X509KeyPair(contents[0], contents[1])
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, ForceAttemptHTTP2: true,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 90 * time.Second, MaxIdleConnsPerHost: 2,
		DisableCompression: true, // a bundle is compressed, and its size is bounded before it is unpacked
	}, nil
}

// noDowngrade follows a redirect, but not from https to http.
func noDowngrade(next *http.Request, before []*http.Request) error {
	if len(before) >= 10 {
		return errors.New("too many redirects")
	}
	if next.URL.Scheme != "https" && before[0].URL.Scheme == "https" {
		return errors.New("a redirect from https to " + next.URL.Scheme)
	}
	return nil
}

// maxRetryAfter bounds what a server may ask for.
const maxRetryAfter = 10 * time.Minute

// transport makes a new http.Transport when certificates change, and notes Retry-After.
type transport struct {
	current *rereadfile.File[*http.Transport]
	used    atomic.Pointer[http.Transport]
	later   atomic.Int64 // a time.Duration, of the last answer
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	current := t.current.Get()
	if before := t.used.Swap(current); before != nil && before != current {
		before.CloseIdleConnections()
	}
	response, err := current.RoundTrip(request)
	later := time.Duration(0)
	if err == nil && (response.StatusCode == http.StatusTooManyRequests || response.StatusCode == http.StatusServiceUnavailable) {
		later = retryafter.Parse(response.Header, time.Now(), maxRetryAfter)
	}
	t.later.Store(int64(later))
	return response, err
}

// CloseIdleConnections is called by the client's method of this name.
func (t *transport) CloseIdleConnections() {
	if used := t.used.Load(); used != nil {
		used.CloseIdleConnections()
	}
}
