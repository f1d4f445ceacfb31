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
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
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
	name   string
	target *url.URL
	source string
	signer []*standardwebhooks.Webhook
	client *http.Client
}

// newWebhook takes a configuration that is valid and resolved.
func newWebhook(config SinkConfig, deps Dependencies) (*webhook, error) {
	target, err := parseWebhookURL(string(config.URL), config.AllowPrivate)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	hook := &webhook{name: config.Name, target: target, source: deps.Source}
	for i, secret := range config.Secrets {
		signer, err := standardwebhooks.NewWebhook(string(secret))
		if err != nil {
			return nil, fmt.Errorf("secrets[%d]: not base64", i)
		}
		hook.signer = append(hook.signer, signer)
	}
	dialer := &net.Dialer{Timeout: webhookDialTimeout, Resolver: deps.Resolver}
	if !config.AllowPrivate {
		dialer.Control = refusePrivate
	}
	hook.client = &http.Client{
		// A redirect would lead to an address that nobody configured.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			// No proxy, also not from the environment: it would be the proxy's address
			// that is checked, and the proxy would go wherever it is sent.
			Proxy:                  nil,
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
	return hook, nil
}

func (w *webhook) Name() string { return w.name }

func (w *webhook) Close() error {
	w.client.CloseIdleConnections()
	return nil
}

func (w *webhook) Deliver(ctx context.Context, job Job) error {
	// The body's time is bounded apart, and cancelling is the only way to do that.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	request, err := w.request(ctx, job)
	if err != nil {
		return err
	}
	answer, err := w.client.Do(request)
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

func (w *webhook) request(ctx context.Context, job Job) (*http.Request, error) {
	body, err := newCloudEvent(job, w.source)
	if err != nil {
		return nil, err
	}
	id, now := job.EventID.String(), time.Now()
	signatures := make([]string, len(w.signer))
	for i, signer := range w.signer {
		signatures[i], err = signer.Sign(id, now, body)
		if err != nil {
			return nil, fmt.Errorf("signing: %w", err)
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.target.String(), bytes.NewReader(body))
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
		return laterError{cause: failure, after: retryAfter(answer.Header.Get("Retry-After"), now)}
	default:
		return failure
	}
}

// retryAfter reads seconds or a date. It is 0 for what it cannot read.
func retryAfter(text string, now time.Time) time.Duration {
	seconds, err := strconv.ParseUint(text, 10, 32)
	if err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	date, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return min(max(0, date.Sub(now)), maxRetryAfter)
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
	)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return errors.New("no answer within the timeout")
	case errors.Is(err, errPrivate):
		return fmt.Errorf("connecting: %w", errPrivate)
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
