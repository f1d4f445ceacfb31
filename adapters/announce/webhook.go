package announce

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/molecule-ai/gatehouse/internal/rereadfile"
	"github.com/molecule-ai/gatehouse/internal/retryafter"
)

const (
	webhookDialTimeout = 5 * time.Second
	webhookIdle        = 90 * time.Second
	// A receiver's answer is its status. A short body is read, so that the
	// connection can be used again, and of a longer one no more than this.
	maxAnswerBody   = 16 << 10
	maxAnswerHeader = 64 << 10
	answerBodyTime  = time.Second
	maxRetryAfter   = 15 * time.Minute
)

// webhook posts each event as a CloudEvent, signed as Standard Webhooks.
type webhook struct {
	name     string
	source   string
	settings *rereadfile.File[*receiver]
	used     atomic.Pointer[receiver]
}

// receiver is where a webhook goes to, and how.
type receiver struct {
	target *url.URL
	signer []*standardwebhooks.Webhook
	client *http.Client
}

// newWebhook takes a configuration that is valid.
func newWebhook(config SinkConfig, deps Dependencies) (*webhook, error) {
	settings, err := watchSettings(config, deps.Report, func(resolved SinkConfig) (*receiver, error) {
		return newReceiver(resolved, deps)
	})
	if err != nil {
		return nil, err
	}
	return &webhook{name: config.Name, source: deps.Source, settings: settings}, nil
}

func newReceiver(config SinkConfig, deps Dependencies) (*receiver, error) {
	target, err := parseWebhookURL(string(config.URL), config.AllowPrivate)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	to := &receiver{target: target}
	for i, secret := range config.Secrets {
		signer, err := standardwebhooks.NewWebhook(string(secret))
		if err != nil {
			return nil, fmt.Errorf("secrets[%d]: not base64", i)
		}
		to.signer = append(to.signer, signer)
	}
	choose, err := parseProxy(string(config.Proxy))
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	proxy, err := choose(target)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	to.client = newWebhookClient(proxy, config.AllowPrivate, deps)
	return to, nil
}

// newWebhookClient checks the address that is dialled, unless that is a proxy's: the proxy goes wherever it is sent, and
// is the one who has to check.
func newWebhookClient(proxy *url.URL, allowPrivate bool, deps Dependencies) *http.Client {
	dialer := &net.Dialer{Timeout: webhookDialTimeout, Resolver: deps.Resolver}
	if !allowPrivate && proxy == nil {
		dialer.Control = refusePrivate
	}
	return &http.Client{
		// A redirect would lead to an address that nobody configured.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  func(*http.Request) (*url.URL, error) { return proxy, nil },
			OnProxyConnectResponse: connected,
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: deps.RootCAs},
			TLSHandshakeTimeout:    webhookDialTimeout,
			ForceAttemptHTTP2:      true,
			HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
			MaxIdleConnsPerHost:    workersPerSink,
			MaxConnsPerHost:        workersPerSink,
			IdleConnTimeout:        webhookIdle,
			MaxResponseHeaderBytes: maxAnswerHeader,
			DisableCompression:     true,
		},
	}
}

func (w *webhook) Name() string { return w.name }

func (w *webhook) Close() error {
	if used := w.used.Load(); used != nil {
		used.client.CloseIdleConnections()
	}
	return nil
}

// receiver is the one of now; connections to the one before are closed.
func (w *webhook) receiver() *receiver {
	now := w.settings.Get()
	if before := w.used.Swap(now); before != nil && before != now {
		before.client.CloseIdleConnections()
	}
	return now
}

func (w *webhook) Deliver(ctx context.Context, job Job) error {
	// The body's time is bounded apart, and cancelling is the only way to do that.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	to := w.receiver()
	request, err := w.request(ctx, job, to)
	if err != nil {
		return err
	}
	answer, err := to.client.Do(request)
	if err != nil {
		return sendError(ctx, err)
	}
	defer func() { _ = answer.Body.Close() }()
	limit := time.AfterFunc(answerBodyTime, cancel)
	defer limit.Stop()
	// What is wrong with the body does not matter, the status has come.
	_, _ = io.CopyN(io.Discard, answer.Body, maxAnswerBody)
	return judge(answer, time.Now())
}

func (w *webhook) request(ctx context.Context, job Job, to *receiver) (*http.Request, error) {
	body, err := newCloudEvent(job, w.source)
	if err != nil {
		return nil, err
	}
	id, now := job.EventID.String(), time.Now()
	signatures := make([]string, len(to.signer))
	for i, signer := range to.signer {
		signatures[i], err = signer.Sign(id, now, body)
		if err != nil {
			return nil, fmt.Errorf("signing: %w", err)
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to.target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("making the request: the URL cannot be used")
	}
	request.Header.Set("Content-Type", cloudEventsMediaType+"; charset=utf-8")
	request.Header.Set("User-Agent", "gatehouse")
	request.Header.Set(standardwebhooks.HeaderWebhookID, id)
	request.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	request.Header.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	return request, nil
}

// judge says what an answer means.
func judge(answer *http.Response, now time.Time) error {
	status := answer.StatusCode
	failure := fmt.Errorf("the receiver answered %d", status)
	switch {
	case status >= 200 && status < 300:
		return nil
	case status >= 300 && status < 400:
		return fmt.Errorf("%w; redirects are not followed", failure)
	case status == http.StatusGone:
		return goneError{failure}
	case status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable:
		return laterError{cause: failure, after: retryafter.Parse(answer.Header, now, maxRetryAfter)}
	default:
		return failure
	}
}

// sendError says why no answer came. The HTTP library's own errors repeat the URL
// and what the receiver has sent, so that only those of the network are passed on.
func sendError(ctx context.Context, err error) error {
	var (
		network     *net.OpError
		name        *net.DNSError
		certificate *tls.CertificateVerificationError
		notTLS      tls.RecordHeaderError
		invalid     x509.CertificateInvalidError
		proxy       errProxy
	)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return errors.New("no answer within the timeout")
	case errors.Is(err, errPrivate):
		return fmt.Errorf("connecting: %w", errPrivate)
	case errors.As(err, &proxy):
		return fmt.Errorf("connecting: %w", proxy)
	case errors.As(err, &name):
		return fmt.Errorf("connecting: %w", name)
	case errors.As(err, &network):
		return fmt.Errorf("talking to the receiver: %w", network)
	case errors.As(err, &certificate):
		return fmt.Errorf("checking the receiver's certificate: %w", certificate)
	case errors.As(err, &invalid):
		return fmt.Errorf("checking the receiver's certificate: %w", invalid)
	case errors.Is(err, http.ErrSchemeMismatch) || errors.As(err, &notTLS):
		return errors.New("the receiver does not speak TLS")
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the receiver closed the connection without an answer")
	default:
		return errors.New("the exchange with the receiver broke off")
	}
}
