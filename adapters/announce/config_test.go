package announce_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/announce"
	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/internal/yamlfile"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// parse reads a list of sinks as the command line does.
func parse(text string) (announce.SinkConfigs, error) {
	value, err := yamlfile.Value("sinks", []byte(text))
	if err != nil {
		return nil, err
	}
	document, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	var configs announce.SinkConfigs
	err = configs.UnmarshalJSON(document)
	return configs, err
}

func TestSinkConfigsAreReadFromYAML(t *testing.T) {
	no := false
	read, err := parse(`
  - {name: ops, type: webhook, url: "https://hooks.example.com/x", secrets: ["` + testSecret + `", "env:NEXT"], retry_for: 24h,
     timeout: 5s, allow_private: false, events: [WORKSPACE_PROVISION_FAILED], hooks: [register], codes: [A, B]}
  - {name: registry, type: redis, url: "redis://localhost", channel: "events:broadcast"}
  - {name: other-redis, type: redis, url: "file:/run/secrets/redis", liveness_keys: false}
  - {name: bus, type: nats, url: "nats://a:4222,nats://b:4222", subject: gatehouse.events, stream: EVENTS, credentials_file: /x.creds}
`)
	require.NoError(t, err)
	require.Equal(t, []string{"ops", "registry", "other-redis", "bus"}, read.Names())
	require.Equal(t, announce.SinkConfigs{
		{
			Name: "ops", Events: []string{admission.ProvisionFailed}, Hooks: []string{"register"}, Codes: []string{"A", "B"},
			RetryFor: announce.Duration(24 * time.Hour), Timeout: announce.Duration(5 * time.Second),
			Settings: sinks.Webhook{URL: "https://hooks.example.com/x", Secrets: []sinks.Secret{testSecret, "env:NEXT"}},
		},
		{Name: "registry", Settings: sinks.Redis{URL: "redis://localhost", Channel: "events:broadcast"}},
		{Name: "other-redis", Settings: sinks.Redis{URL: "file:/run/secrets/redis", LivenessKeys: &no}},
		{Name: "bus", Settings: sinks.NATS{
			URL: "nats://a:4222,nats://b:4222", Subject: "gatehouse.events", Stream: "EVENTS", CredentialsFile: "/x.creds",
		}},
	}, read)
}

func TestSinkConfigsRefuseMistakesAndRepeatNoSecret(t *testing.T) {
	const hook = `name: ops, type: webhook, url: "https://u:hunter2@h.example/hunter2?t=hunter2", secrets: ["` + testSecret + `"]`
	for text, want := range map[string]string{
		`{` + hook + `, retryfor: 1h}`:                                                   `sink "ops": retryfor is not a member of a sink, did you mean "retry_for"?`,
		`{` + hook + `, retry_for: 24}`:                                                  `sink "ops": retry_for: wrong type of value`,
		`{` + hook + `, retry_for: hunter2}`:                                             `sink "ops": retry_for: want a positive duration with a unit, such as 90s, 24h or 7d`,
		`{` + hook + `, timeout: 1m}`:                                                    `sink "ops": timeout: at most 20s`,
		`{` + hook + `, channel: c}`:                                                     `sink "ops": channel: only for sinks of type redis`,
		`{` + hook + `, liveness_keys: true}`:                                            `sink "ops": liveness_keys: only for sinks of type redis`,
		`{` + hook + `, subject: s}`:                                                     `sink "ops": subject: only for sinks of type nats`,
		`{` + hook + `, events: [WORKSPACE_FAILED]}`:                                     `sink "ops": events: there is no event "WORKSPACE_FAILED"`,
		`{` + hook + `, codes: [""]}`:                                                    `sink "ops": codes: an empty code`,
		`{` + hook + `, whsec_hunter2: 1}`:                                               `sink "ops": a member is none of a sink's, which are`,
		`{name: ops, type: email, url: x}`:                                               `sink "ops": type: want webhook, redis or nats`,
		`{name: ops, type: webhook, secrets: ["env:X"]}`:                                 `sink "ops": url: missing`,
		`{name: ops, type: webhook, url: "https://h"}`:                                   `sink "ops": secrets: a webhook needs at least one`,
		`{type: webhook, url: "https://h"}`:                                              `sinks[0]: sink name ""`,
		`{name: "Ops!", type: webhook}`:                                                  `sinks[0]: sink name "Ops!"`,
		`{name: other, type: redis, url: "redis://h"}`:                                   `sinks[0]: sink name "other" is taken`,
		webhook("http://h/hunter2", testSecret):                                          `sink "ops": url: want https (http only with allow_private)`,
		webhook("https:///hunter2", testSecret):                                          `sink "ops": url: not https://host/path`,
		webhook("https://h/#hunter2", testSecret):                                        `sink "ops": url: a fragment`,
		webhook("https://10.0.0.1/hunter2", testSecret):                                  `sink "ops": url: not a public address`,
		webhook("https://[::1]/", testSecret):                                            `sink "ops": url: not a public address`,
		webhook("https://hunter2\x7f@h", testSecret):                                     `sink "ops": url: not https://host/path`,
		webhook("https://h", "hunter2"):                                                  `sink "ops": secrets[0]: want whsec_ and base64`,
		webhook("https://h", "whsec_hunter2"):                                            `sink "ops": secrets[0]: what follows whsec_ is not base64`,
		webhook("https://h", "whsec_aHVudGVyMg=="):                                       `sink "ops": secrets[0]: want 24 to 64 bytes`,
		`{name: ops, type: webhook, url: "https://h", secrets: hunter2}`:                 `sink "ops": secrets: wrong type of value`,
		`{name: r, type: redis, url: "http://:hunter2@h"}`:                               `sink "r": url: the Redis URL's scheme`,
		`{name: bus, type: nats, url: "redis://:hunter2@h"}`:                             `sink "bus": url: want the scheme nats or tls`,
		`{name: bus, type: nats, url: "nats://:hunter2#@h"}`:                             `sink "bus": url: not a list`,
		`{name: bus, type: nats, url: "nats://u:hunter2@a,nats://u:x@b"}`:                `sink "bus": url: servers of one sink need the same login`,
		`{name: bus, type: nats, url: "nats://h", subject: "a.>"}`:                       `sink "bus": subject: spaces and wildcards`,
		`{name: bus, type: nats, url: "nats://h", stream: "a.b"}`:                        `sink "bus": stream: not a stream's name`,
		`{name: a, type: nats, url: "nats://h"}, {name: a, type: nats, url: "nats://h"}`: `sink name "a" is used twice`,
		`hunter2`: `want a list of objects`,
	} {
		_, err := parse("[" + text + "]")
		require.ErrorContains(t, err, want, text)
		require.NotContains(t, err.Error(), password, text)
		require.NotContains(t, err.Error(), "aHVudGVyMg", text)
	}
}

func webhook(address, secret string) string {
	return fmt.Sprintf(`{name: ops, type: webhook, url: %q, secrets: [%q]}`, address, secret)
}

func TestSinkConfigPrintsNoSecret(t *testing.T) {
	settings := sinks.Webhook{URL: "https://u:hunter2@h/hunter2", Secrets: []sinks.Secret{testSecret}}
	config := announce.SinkConfig{Name: "ops", Settings: settings}
	log := &logBook{}
	log.logger(slog.LevelInfo).Info("sinks", "config", config)
	slog.New(slog.NewTextHandler(log, nil)).Info("sinks", "config", config, "url", settings.URL)
	written, err := json.Marshal(settings)
	require.NoError(t, err)
	text := fmt.Sprintf("%v %+v %#v %s", config, config, config, written) + log.String()
	require.NotContains(t, text, password)
	require.NotContains(t, text, "MfKQ9r8GK")
}

func TestSecretInAVariableOrAFile(t *testing.T) {
	receiver := newReceiver(t, nil)
	settings := receiver.settings(t)
	path := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(path, []byte(testSecret+"\n"), 0o600))
	t.Setenv("GATEHOUSE_TEST_HOOK", string(settings.URL))
	settings.URL = "env:GATEHOUSE_TEST_HOOK"
	settings.Secrets = []sinks.Secret{sinks.Secret("file:" + path)}
	sink := openSink(t, sinks.Dependencies{}, settings)
	require.NoError(t, sink.Deliver(t.Context(), newJob(t)))
	require.NoError(t, receiver.heard()[0].valid)

	for _, wrong := range []sinks.Secret{"env:GATEHOUSE_TEST_UNSET", "file:/nonexistent", "env:GATEHOUSE_TEST_HOOK"} {
		settings.Secrets = []sinks.Secret{wrong}
		_, err := announce.Open(announce.SinkConfigs{{Name: "ops", Settings: settings}}, sinks.Dependencies{})
		require.ErrorContains(t, err, `sink "ops": secrets[0]: `)
		require.NotContains(t, err.Error(), password)
	}
}

func TestOutboxFiltersEventsForEachSink(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, q *testQueue) {
		names := []string{"all", "event", "type", "hook", "code", "none"}
		q.subscribe(t,
			announce.SinkConfig{Name: "all"},
			announce.SinkConfig{Name: "event", Events: []string{admission.ProvisionFailed}},
			announce.SinkConfig{Name: "type", Events: []string{"gatehouse.workspace.provision_failed"}},
			announce.SinkConfig{Name: "hook", Hooks: []string{"heartbeat", "register"}},
			announce.SinkConfig{Name: "code", Codes: []string{"SECRETS"}},
			announce.SinkConfig{Name: "none", Hooks: []string{"heartbeat"}, Codes: []string{"SECRETS"}},
		)
		events := newEvents(t, 3)
		events[1].Hook, events[2].Payload.Code = "other", "SECRETS"

		q.announce(t, events...)

		jobs := q.text(t, "select cast(count(*) as text) from "+q.table)
		require.Equal(t, "12", jobs, "what is filtered out gets no job")
		sinks, recorders := make([]sinks.Sink, len(names)), map[string]*recorder{}
		for i, name := range names {
			recorders[name] = &recorder{name: name}
			sinks[i] = recorders[name]
		}
		q.start(t, announce.Options{}, sinks...)
		q.requireEmpty(t)
		for name, want := range map[string][]int{
			"all": {1, 1, 1}, "event": {1, 1, 1}, "type": {1, 1, 1}, "hook": {1, 0, 1}, "code": {0, 0, 1}, "none": {0, 0, 0},
		} {
			require.Equal(t, want, recorders[name].times(events), name)
		}
	})
}

func TestRetryForIsOfEachSink(t *testing.T) {
	t.Parallel()
	pool := openPostgres(t, testenv.DatabaseURL(t, testenv.Empty))
	q, count := postgresQueue(t, pool), &results{}
	failing := newReceiver(t, status(http.StatusInternalServerError))
	short, long := failing.config(t, "short"), failing.config(t, "long")
	short.RetryFor, long.RetryFor = announce.Duration(50*time.Millisecond), announce.Duration(time.Hour)
	q.subscribe(t, short, long)
	q.start(t, announce.Options{Observe: count.observe, Retry: fastRetry, Poll: tick}, openSinks(t, sinks.Dependencies{}, short, long)...)
	q.announce(t, newEvent(t))
	require.Eventually(t, func() bool {
		return count.of("short", announce.Dead) == 1 && count.of("long", announce.Retried) > 5
	}, patience, tick)
	require.Zero(t, count.of("long", announce.Dead))
}

func TestOpenRefusesASourceThatIsNoURIReference(t *testing.T) {
	_, err := announce.Open(nil, sinks.Dependencies{Source: "a b"})
	require.ErrorContains(t, err, "is not a URI reference")
}
