package announce_test

import (
	"encoding/base64"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

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
func TestWebhookRereadsItsSecretFile(t *testing.T) {
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
func TestWebhookRereadsItsURLFile(t *testing.T) {
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
func TestRedisRereadsItsURLFile(t *testing.T) {
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
func TestNATSRereadsItsURLFile(t *testing.T) {
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
