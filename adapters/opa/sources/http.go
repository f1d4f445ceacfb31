package sources

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// answerTimeout is how long a server may take beyond the time that it was asked to wait.
const answerTimeout = 30 * time.Second

// httpBundle is a bundle on a server that speaks OPA's bundle service API: ETags, and long polling where the
// server offers it.
type httpBundle struct {
	remote

	address string
}

func newHTTP(specification string, options Options) (Origin, error) {
	address, err := url.Parse(specification)
	if err != nil || address.Host == "" {
		return nil, errors.New("policies from a server: the address is no URL") // which may hold a secret
	}
	if address.User != nil {
		return nil, fmt.Errorf("policies from %s: credentials do not belong into an address; use --policies-token", redacted(address))
	}
	if address.Scheme == "http" && options.Token != "" && !isLoopback(address.Hostname()) {
		return nil, fmt.Errorf("policies from %s: a token must not go over http; use https", redacted(address))
	}
	server, err := newRemote(redacted(address), options)
	if err != nil {
		return nil, err
	}
	return &httpBundle{server, specification}, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Fetch asks with the ETag. tag holds the digest of the content and the ETag: the digest tells an unchanged bundle from a server
// without ETags.
func (b *httpBundle) Fetch(ctx context.Context, tag string) (Fetched, error) {
	digest, etag, _ := strings.Cut(tag, " ")
	limited, cancel := context.WithTimeout(ctx, b.options.LongPoll+answerTimeout)
	defer cancel()
	asked := time.Now()
	response, err := b.ask(limited, etag)
	if err != nil {
		return Fetched{}, withoutAddress(err)
	}
	defer func() { _ = response.Body.Close() }()
	again := b.options.LongPoll > 0 && etag != "" && time.Since(asked) >= time.Second
	switch response.StatusCode {
	case http.StatusNotModified:
		// A server that holds its answers back takes its time; one that does not must not be asked in a loop.
		return Fetched{Tag: tag, Unchanged: true, AskAgain: again}, nil
	case http.StatusOK:
	default:
		return Fetched{}, fmt.Errorf("the server answered %s", response.Status)
	}
	etag = response.Header.Get("ETag")
	archive, err := b.read(response.Body)
	if err != nil {
		return Fetched{}, fmt.Errorf("reading the bundle: %w", err)
	}
	offersLongPoll := b.options.LongPoll > 0 && response.Header.Get("Content-Type") == "application/vnd.openpolicyagent.bundles"
	now := digestOf(archive)
	if now == digest {
		return Fetched{Tag: now + " " + etag, Unchanged: true}, nil
	}
	fetched := b.open(now+" "+etag, archive)
	fetched.AskAgain = offersLongPoll && etag != ""
	return fetched, nil
}

func (b *httpBundle) ask(ctx context.Context, etag string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.address, nil)
	if err != nil {
		return nil, err
	}
	prefer := "modes=snapshot"
	if b.options.LongPoll >= time.Second {
		prefer += ";wait=" + strconv.Itoa(int(b.options.LongPoll.Seconds()))
	}
	request.Header.Set("Prefer", prefer)
	if etag != "" {
		request.Header.Set("If-None-Match", etag)
	}
	if b.options.Token != "" {
		request.Header.Set("Authorization", "Bearer "+b.options.Token)
	}
	return b.client.Do(request)
}

// withoutAddress removes the address from an error: its query may be a secret.
func withoutAddress(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}
