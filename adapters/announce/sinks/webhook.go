package sinks

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
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
	// Only the status of an answer counts. Up to maxAnswerBody of the body is read, so that the connection can be used again.
	maxAnswerBody   = 16 << 10
	maxAnswerHeader = 64 << 10
	answerBodyTime  = time.Second
	maxRetryAfter   = 15 * time.Minute
)

// The length of a signing secret that Standard Webhooks asks for, in bytes.
const (
	minSecretLength = 24
	maxSecretLength = 64
	secretPrefix    = "whsec_"
)

// Webhook is the settings of a webhook.
type Webhook struct {
	// URL is https://…, or http://… with AllowPrivate.
	URL Secret `json:"url"`
	// Secrets sign the requests, each of them with every one, so that a receiver can be moved from one to the next.
	Secrets []Secret `json:"secrets,omitzero"`
	// AllowPrivate lets the webhook go to addresses that are not public, and without TLS.
	AllowPrivate bool `json:"allow_private,omitzero"`
	// Proxy is http://…, https://… or socks5://…, or environment for what HTTPS_PROXY, HTTP_PROXY and NO_PROXY say. The proxy
	// then looks names up, and it alone can check whether an address is public.
	Proxy Secret `json:"proxy,omitzero"`
}

// Validate implements Settings.
func (w Webhook) Validate() error {
	if w.URL == "" {
		return errNoURL
	}
	if len(w.Secrets) == 0 {
		return errors.New("secrets: a webhook needs at least one to sign with")
	}
	return validate(w.settings())
}

// settings are the URL, the proxy and the secrets, in this order.
func (w Webhook) settings() []setting {
	settings := []setting{
		{"url", w.URL, func(text string) error {
			_, err := w.parseURL(text)
			return err
		}},
		{"proxy", w.Proxy, func(text string) error {
			_, err := parseProxy(text)
			return err
		}},
	}
	for i, secret := range w.Secrets {
		settings = append(settings, setting{fmt.Sprintf("secrets[%d]", i), secret, checkSigningSecret})
	}
	return settings
}

// parseURL never repeats what it was given: webhooks often carry their password in the path or the query.
func (w Webhook) parseURL(text string) (*url.URL, error) {
	target, err := url.Parse(text)
	if err != nil || target.Opaque != "" || target.Hostname() == "" {
		return nil, errors.New("not https://host/path")
	}
	if target.Fragment != "" {
		return nil, errors.New("a fragment (#) is not sent; escape it as %23")
	}
	if target.Scheme != "https" && (target.Scheme != "http" || !w.AllowPrivate) {
		return nil, errors.New("want https (http only with allow_private)")
	}
	address, err := netip.ParseAddr(target.Hostname())
	if err == nil && !w.AllowPrivate {
		err = checkPublic(address)
		if err != nil {
			return nil, err
		}
	}
	return target, nil
}

func checkSigningSecret(text string) error {
	encoded, prefixed := strings.CutPrefix(text, secretPrefix)
	if !prefixed {
		return errors.New("want " + secretPrefix + " and base64")
	}
	secret, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return errors.New("what follows " + secretPrefix + " is not base64")
	}
	if len(secret) < minSecretLength || len(secret) > maxSecretLength {
		return fmt.Errorf("want %d to %d bytes in base64", minSecretLength, maxSecretLength)
	}
	return nil
}

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

// Open implements Settings.
func (w Webhook) Open(name string, deps Dependencies) (OpenSink, error) {
	settings, err := watch(name, deps.Report, w.settings(), func(texts []string) (*receiver, error) {
		return w.newReceiver(texts[0], texts[1], texts[2:], deps)
	})
	if err != nil {
		return nil, err
	}
	return &webhook{name: name, source: deps.Source, settings: settings}, nil
}

func (w Webhook) newReceiver(address, proxyAddress string, secrets []string, deps Dependencies) (*receiver, error) {
	target, err := w.parseURL(address)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	to := &receiver{target: target}
	for i, secret := range secrets {
		signer, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			return nil, fmt.Errorf("secrets[%d]: not base64", i)
		}
		to.signer = append(to.signer, signer)
	}
	choose, err := parseProxy(proxyAddress)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	proxy, err := choose(target)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	to.client = newWebhookClient(proxy, w.AllowPrivate, deps)
	return to, nil
}

// newWebhookClient checks the address that is dialled, unless a proxy is. The proxy connects to the receiver, and it has to check
// the receiver's address.
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
			MaxIdleConnsPerHost:    Concurrency,
			MaxConnsPerHost:        Concurrency,
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

// receiver is the current one. Idle connections to the one before are closed.
func (w *webhook) receiver() *receiver {
	now := w.settings.Get()
	if before := w.used.Swap(now); before != nil && before != now {
		before.client.CloseIdleConnections()
	}
	return now
}

func (w *webhook) Deliver(ctx context.Context, job Job) error {
	// Reading the body has a time limit of its own, which only cancelling can enforce.
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
	// An error of the body does not matter: the status has come.
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
		return GoneError{Cause: failure}
	case status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable:
		return LaterError{Cause: failure, After: retryafter.Parse(answer.Header, now, maxRetryAfter)}
	default:
		return failure
	}
}

// sendError says why no answer came. The HTTP library's own errors repeat the URL and what the receiver sent, so only errors of
// the network are passed on.
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
