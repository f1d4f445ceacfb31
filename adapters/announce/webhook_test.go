package announce_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/santhosh-tekuri/jsonschema/v6"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/announce"
	"github.com/molecule-ai/gatehouse/adapters/announce/operator"
	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/server/admission"
)

func TestWebhookIsACloudEventSignedAsStandardWebhooks(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, q *testQueue) {
		receiver, event := newReceiver(t, nil), newEvent(t)
		config := receiver.config(t, "ops")
		q.subscribe(t, config)
		q.start(t, announce.Options{}, openSinks(t, sinks.Dependencies{Source: "/eu/gatehouse"}, config)...)

		q.announce(t, event)

		q.requireEmpty(t)
		require.Len(t, receiver.heard(), 1)
		got := receiver.heard()[0]
		require.NoError(t, got.valid)
		require.Equal(t, event.ID.String(), got.header.Get("webhook-id"))
		require.Equal(t, "application/cloudevents+json; charset=utf-8", got.header.Get("Content-Type"))
		require.Equal(t, `{"specversion":"1.0","id":"`+event.ID.String()+`","source":"/eu/gatehouse",`+
			`"type":"gatehouse.workspace.provision_failed","subject":"`+event.WorkspaceID.String()+`",`+
			`"time":"2026-04-05T06:07:08.123456Z","datacontenttype":"application/json",`+
			`"sequence":"0000000000000000007","decisionid":"`+event.DecisionID.String()+`","hook":"register",`+
			`"code":"PLATFORM_AGENT_IDENTITY_GATE",`+
			`"data":{"event":"WORKSPACE_PROVISION_FAILED","workspace_id":"`+event.WorkspaceID.String()+`",`+
			`"timestamp":"2026-04-05T06:07:08.123456Z","payload":{"error":"no <MODEL> secret & \"no\" model",`+
			`"code":"PLATFORM_AGENT_IDENTITY_GATE","reason":"model_missing"}}}`, got.body)
		requireCloudEvent(t, got.body)
		requireAsDocumented(t, got.header, got.body)
	})
}

// requireAsDocumented holds what a receiver got to the section webhooks of the API's document.
func requireAsDocumented(t *testing.T, header http.Header, body string) {
	t.Helper()
	const at = "openapi.json#/webhooks/event/post"
	text, err := os.ReadFile("../../server/httpapi/openapi.json")
	require.NoError(t, err)
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	require.NoError(t, compiler.AddResource("openapi.json", document))
	event, err := compiler.Compile(at + "/requestBody/content/application~1cloudevents+json/schema")
	require.NoError(t, err)
	sent, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
	require.NoError(t, err)
	require.NoError(t, event.Validate(sent))

	names := []string{"webhook-id", "webhook-timestamp", "webhook-signature"}
	for i, name := range names {
		schema, err := compiler.Compile(at + "/parameters/" + strconv.Itoa(i) + "/schema")
		require.NoError(t, err)
		require.NoError(t, schema.Validate(header.Get(name)), name)
	}
}

// requireCloudEvent checks what the specification demands of any event: section
// "Context Attributes" of CloudEvents 1.0.2 and its JSON format. The project's own
// library reads it, too, and finds what is in it.
func requireCloudEvent(t *testing.T, text string) {
	t.Helper()
	var read cloudevents.Event
	require.NoError(t, json.Unmarshal([]byte(text), &read))
	require.NoError(t, read.Validate())
	again, err := json.Marshal(read)
	require.NoError(t, err)
	require.JSONEq(t, text, string(again))
	var event map[string]any
	require.NoError(t, json.Unmarshal([]byte(text), &event))
	for _, required := range []string{"id", "source", "specversion", "type"} {
		require.NotEmpty(t, event[required], required)
	}
	require.Equal(t, "1.0", event["specversion"])
	_, err = time.Parse(time.RFC3339, event["time"].(string))
	require.NoError(t, err)
	require.IsType(t, map[string]any{}, event["data"])
	for name, value := range event {
		require.Regexp(t, regexp.MustCompile(`^[a-z0-9]{1,20}$`), name)
		if name != "data" {
			require.IsType(t, "", value, name)
			require.NotEmpty(t, value, name)
		}
	}
}

func TestCloudEventLeavesOutEmptyAttributes(t *testing.T) {
	receiver := newReceiver(t, nil)
	sink := openSink(t, sinks.Dependencies{}, receiver.settings(t))
	job := newJob(t)
	job.DecisionID, job.Sequence, job.Hook, job.Code = uuid.Nil, 0, "", ""
	require.NoError(t, sink.Deliver(t.Context(), job))
	requireCloudEvent(t, receiver.heard()[0].body)
	require.NotContains(t, receiver.heard()[0].body, "sequence")
	require.NotContains(t, receiver.heard()[0].body, "decisionid")
}

func newJob(t testing.TB) sinks.Job {
	t.Helper()
	event := newEvent(t)
	message, err := json.Marshal(event)
	require.NoError(t, err)
	return sinks.Job{
		EventID: event.ID, WorkspaceID: event.WorkspaceID, DecisionID: event.DecisionID, Event: event.Event,
		Hook: event.Hook, Code: event.Payload.Code, Sequence: event.Sequence,
		Message: string(message), CreatedAt: event.Timestamp,
	}
}

// Each fault has a sink of its own; all get the same events from one relay, so that
// none may hold up another.
func TestWebhookIsRetriedUntilItIsDelivered(t *testing.T) {
	t.Parallel()
	pool := openPostgres(t, testenv.DatabaseURL(t, testenv.Empty))
	q, log, count := postgresQueue(t, pool), &logBook{}, &results{}
	elsewhere, endless := newReceiver(t, nil), &endlessBody{}
	const times = 3
	receivers, configs := map[string]*receiver{}, []announce.SinkConfig{}
	for name, fault := range map[string]http.HandlerFunc{
		"fails":     status(http.StatusInternalServerError),
		"rejects":   status(http.StatusBadRequest),
		"hangs":     hang,
		"drops":     raw(t, func(*http.Request) string { return "" }),
		"echoes":    raw(t, func(r *http.Request) string { return r.URL.String() + "\r\n" + r.Header.Get("Authorization") }),
		"cut":       raw(t, func(*http.Request) string { return "HTTP/1.1 200 O" }),
		"redirects": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) },
		"busy":      answerLater(http.StatusServiceUnavailable, func() string { return "0" }),
		"date":      answerLater(http.StatusTooManyRequests, func() string { return time.Now().UTC().Format(http.TimeFormat) }),
		"nonsense":  answerLater(http.StatusTooManyRequests, func() string { return "soon" }),
		"endless":   endless.ServeHTTP,
	} {
		receivers[name] = newReceiver(t, firstly(times, fault))
		config := receivers[name].config(t, name)
		if name == "hangs" {
			config.Timeout = announce.Duration(250 * time.Millisecond)
		}
		configs = append(configs, config)
	}
	q.subscribe(t, configs...)
	q.start(t, announce.Options{
		Log: log.logger(slog.LevelDebug), Observe: count.observe, Retry: fastRetry, Poll: tick,
	}, openSinks(t, sinks.Dependencies{}, configs...)...)
	events := newEvents(t, 2)

	q.announce(t, events...)

	q.requireEmpty(t)
	for name, receiver := range receivers {
		require.Equal(t, 2, count.of(name, announce.Delivered), name)
		require.True(t, receiver.has(events...), name)
		for _, request := range receiver.heard() {
			require.NoError(t, request.valid, name)
		}
		switch name {
		case "endless":
			require.Zero(t, count.of(name, announce.Retried), "a status is an answer, whatever follows")
		case "hangs":
			// On a busy machine, more than those attempts may take too long.
			require.GreaterOrEqual(t, count.of(name, announce.Retried), times, name)
		default:
			require.Equal(t, times, count.of(name, announce.Retried), name)
			require.Len(t, receiver.heard(), times+2, name)
		}
	}
	require.Empty(t, elsewhere.heard(), "a redirect was followed")
	require.Less(t, endless.written.Load(), int64(64<<20))
	requireNoSecrets(t, q, log)
}

func answerLater(code int, after func() string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", after())
		w.WriteHeader(code)
	}
}

// endlessBody answers with a gigabyte, to whoever reads it.
type endlessBody struct{ written atomic.Int64 }

func (e *endlessBody) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	part := bytes.Repeat([]byte("x"), 1<<20)
	for range 1 << 10 {
		n, err := w.Write(part)
		e.written.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// requireNoSecrets looks for them wherever an operator looks.
func requireNoSecrets(t *testing.T, q *testQueue, log *logBook) {
	t.Helper()
	view := q.view(t)
	page, _, err := view.List(t.Context(), operator.Filter{})
	require.NoError(t, err)
	listed, err := json.Marshal(page)
	require.NoError(t, err)
	rows := q.text(t, "select string_agg(row_to_json(j)::text, '') from "+q.table+" j")
	for where, text := range map[string]string{"the log": log.String(), "the list": string(listed), "the database": rows} {
		require.NotEmpty(t, text)
		for _, secret := range []string{password, strings.TrimPrefix(testSecret, "whsec_"), "Z2F0ZWhvdXNlO"} {
			require.NotContains(t, text, secret, where)
		}
	}
}

func TestWebhookHonoursRetryAfter(t *testing.T) {
	t.Parallel()
	pool := openPostgres(t, testenv.DatabaseURL(t, testenv.Empty))
	q, events := postgresQueue(t, pool), newEvents(t, 10)
	began := make(chan time.Time, 1)
	receiver := newReceiver(t, firstly(1, func(w http.ResponseWriter, _ *http.Request) {
		began <- time.Now()
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	config := receiver.config(t, "ops")
	q.subscribe(t, config)
	q.start(t, announce.Options{Poll: tick, Retry: fastRetry}, openSinks(t, sinks.Dependencies{}, config)...)
	q.announce(t, events[0])
	asked := <-began
	require.Eventually(t, func() bool {
		page, _, err := q.view(t).List(t.Context(), operator.Filter{State: operator.StateRetrying})
		return err == nil && len(page) == 1
	}, patience, tick)
	receiver.answerWith(func(w http.ResponseWriter, _ *http.Request) {
		if early := time.Since(asked); early < time.Second {
			t.Errorf("an event came after %s", early)
		}
	})

	// Also events that are new do not bother it.
	q.announce(t, events[1:]...)

	q.requireEmpty(t)
	require.True(t, receiver.has(events...))
	require.Len(t, receiver.heard(), len(events)+1)
}

func TestWebhookSignsWithEverySecret(t *testing.T) {
	const next = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
	receiver := newReceiver(t, nil)
	settings := receiver.settings(t)
	settings.Secrets = []sinks.Secret{next, testSecret}
	sink := openSink(t, sinks.Dependencies{}, settings)
	job := newJob(t)

	require.NoError(t, sink.Deliver(t.Context(), job))

	got := receiver.heard()[0]
	require.NoError(t, got.valid)
	newer, err := standardwebhooks.NewWebhook(next)
	require.NoError(t, err)
	require.NoError(t, newer.Verify([]byte(got.body), got.header))
	require.Len(t, strings.Split(got.header.Get("webhook-signature"), " "), 2)
	stranger, err := standardwebhooks.NewWebhook("whsec_" + strings.Repeat("A", 32))
	require.NoError(t, err)
	require.Error(t, stranger.Verify([]byte(got.body), got.header))
}

func TestWebhookAttemptsHaveOneIDAndATimeEach(t *testing.T) {
	receiver := newReceiver(t, nil)
	sink := openSink(t, sinks.Dependencies{}, receiver.settings(t))
	job := newJob(t)
	require.NoError(t, sink.Deliver(t.Context(), job))
	require.NoError(t, sink.Deliver(t.Context(), job))
	for _, got := range receiver.heard() {
		require.Equal(t, job.EventID.String(), got.id)
		seconds, err := strconv.ParseInt(got.header.Get("webhook-timestamp"), 10, 64)
		require.NoError(t, err)
		require.WithinDuration(t, time.Now(), time.Unix(seconds, 0), 10*time.Second)
	}
}

func TestWebhookKeepsItsConnection(t *testing.T) {
	addresses := map[string]bool{}
	receiver := newReceiver(t, func(w http.ResponseWriter, r *http.Request) {
		addresses[r.RemoteAddr] = true
		_, _ = w.Write([]byte("thank you"))
	})
	sink := openSink(t, sinks.Dependencies{}, receiver.settings(t))
	for range 5 {
		require.NoError(t, sink.Deliver(t.Context(), newJob(t)))
	}
	require.Len(t, addresses, 1)
}

func TestWebhookRequiresTLS12AndATrustedCertificate(t *testing.T) {
	job := newJob(t)
	start := func(t *testing.T, newest uint16) (*httptest.Server, *x509.CertPool) {
		receiver := httptest.NewUnstartedServer(status(http.StatusOK))
		receiver.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: newest}
		receiver.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		receiver.EnableHTTP2 = true
		receiver.StartTLS()
		t.Cleanup(receiver.Close)
		roots := x509.NewCertPool()
		roots.AddCert(receiver.Certificate())
		return receiver, roots
	}
	deliver := func(t *testing.T, address string, roots *x509.CertPool) error {
		return openSink(t, sinks.Dependencies{RootCAs: roots}, sinks.Webhook{
			URL: sinks.Secret(address + "?token=" + password), Secrets: []sinks.Secret{testSecret}, AllowPrivate: true,
		}).Deliver(t.Context(), job)
	}
	newer, roots := start(t, tls.VersionTLS13)
	require.NoError(t, deliver(t, newer.URL, roots))
	stranger := deliver(t, newer.URL, x509.NewCertPool())
	require.ErrorContains(t, stranger, "certificate")
	require.NotContains(t, stranger.Error(), password)
	older, roots := start(t, tls.VersionTLS11)
	require.Error(t, deliver(t, older.URL, roots))
	plain := newReceiver(t, nil)
	require.ErrorContains(t, deliver(t, strings.Replace(plain.URL, "http:", "https:", 1), roots), "does not speak TLS")
}

func TestWebhookGoneDisablesTheSinkOnAllReplicas(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, q *testQueue) {
		leaving, staying := newReceiver(t, status(http.StatusGone)), newReceiver(t, nil)
		configs := []announce.SinkConfig{leaving.config(t, "leaving"), staying.config(t, "staying")}
		q.subscribe(t, configs...)
		view, log, events := q.view(t, "leaving", "staying"), &logBook{}, newEvents(t, 100)
		options := announce.Options{Log: log.logger(slog.LevelInfo), Retry: announce.Retry{First: tick, Limit: tick, For: 5 * time.Second}}
		stopFirst := q.start(t, options, openSinks(t, sinks.Dependencies{}, configs...)...)
		stopSecond := q.start(t, options, openSinks(t, sinks.Dependencies{}, configs...)...)
		arriving := func(events ...admission.Event) int {
			q.announce(t, events...)
			require.Eventually(t, func() bool { return staying.has(events...) }, patience, tick)
			return len(leaving.heard())
		}

		arriving(events[0])
		require.Eventually(t, func() bool { return disabled(t, view, "leaving") }, patience, tick)
		// The other replica hears of it a little later.
		before, next := len(leaving.heard()), 1
		require.Eventually(t, func() bool {
			was := before
			before = arriving(events[next : next+5]...)
			next += 5
			return before == was
		}, patience, tick)
		require.Equal(t, before, arriving(events[next:next+5]...), "a replica went on")
		stopFirst()
		stopSecond()
		q.start(t, options, openSinks(t, sinks.Dependencies{}, configs...)...)
		require.Equal(t, before, arriving(events[next+5:]...), "a restart enabled the sink")
		said := log.lines(t, "sink is disabled: its receiver wants no more events; announcements wait until it is enabled again")
		require.Len(t, said, 1)
		require.Equal(t, "ERROR", said[0]["level"])
		require.Equal(t, "leaving", said[0]["sink"])

		leaving.answerWith(nil)
		require.NoError(t, view.Enable(t.Context(), "leaving"))
		require.Eventually(t, func() bool { return leaving.has(events...) }, patience, tick)
		q.requireEmpty(t)
		require.False(t, disabled(t, view, "leaving"))
	})
}

func disabled(t *testing.T, view *operator.Announcements, sink string) bool {
	t.Helper()
	states, err := view.Sinks(t.Context())
	require.NoError(t, err)
	for _, state := range states {
		if state.Name == sink && state.Disabled {
			require.NotEmpty(t, state.Reason)
			return true
		}
	}
	return false
}

func TestWebhookAttemptEndsWithItsTimeout(t *testing.T) {
	receiver := newReceiver(t, hang)
	sink := openSink(t, sinks.Dependencies{}, receiver.settings(t))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.EqualError(t, sink.Deliver(ctx, newJob(t)), "no answer within the timeout")
}
