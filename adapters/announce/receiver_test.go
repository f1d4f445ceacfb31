package announce_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/announce"
	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// receiver is somebody's webhook. Each request is verified with the public library.
type receiver struct {
	*httptest.Server
	verifier *standardwebhooks.Webhook

	mu       sync.Mutex
	answer   http.HandlerFunc // nil for 200
	requests []received
}

type received struct {
	id     string
	header http.Header
	body   string
	valid  error
}

// newReceiver answers as answer does, until that is changed.
func newReceiver(t testing.TB, answer http.HandlerFunc) *receiver {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhook(testSecret)
	require.NoError(t, err)
	r := &receiver{verifier: verifier, answer: answer}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err == nil {
		err = r.verifier.Verify(body, request.Header)
	}
	r.mu.Lock()
	r.requests = append(r.requests, received{request.Header.Get("webhook-id"), request.Header.Clone(), string(body), err})
	answer := r.answer
	r.mu.Unlock()
	if answer != nil {
		answer(w, request)
	}
}

func (r *receiver) answerWith(answer http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func (r *receiver) heard() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests)
}

func (r *receiver) has(events ...admission.Event) bool {
	heard := r.heard()
	return !slices.ContainsFunc(events, func(event admission.Event) bool {
		return !slices.ContainsFunc(heard, func(request received) bool { return request.id == event.ID.String() })
	})
}

func (r *receiver) config(t testing.TB, name string) announce.SinkConfig {
	t.Helper()
	return announce.SinkConfig{Name: name, Settings: r.settings(t)}
}

// settings are those of a webhook for the receiver, with a password in every part of its URL that can hold one.
func (r *receiver) settings(t testing.TB) sinks.Webhook {
	t.Helper()
	target, err := url.Parse(r.URL)
	require.NoError(t, err)
	target.User = url.UserPassword("gatehouse", password)
	target.Path = "/services/" + password
	target.RawQuery = "token=" + password
	return sinks.Webhook{
		URL: sinks.Secret(target.String()), Secrets: []sinks.Secret{testSecret}, AllowPrivate: true,
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// firstly answers some requests in one way and the others with 204.
func firstly(times int, answer http.HandlerFunc) http.HandlerFunc {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		times--
		failing := times >= 0
		mu.Unlock()
		if failing {
			answer(w, r)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

// raw takes the connection away from the HTTP server.
func raw(t testing.TB, text func(r *http.Request) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, err = io.WriteString(conn, text(r))
		if err != nil {
			t.Error(err)
		}
		_ = conn.Close()
	}
}

func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
