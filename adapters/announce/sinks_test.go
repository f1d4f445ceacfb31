package announce_test

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/announce"
	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
)

const testSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// openSinks opens sinks as a configuration would, until the test ends.
func openSinks(t testing.TB, deps sinks.Dependencies, configs ...announce.SinkConfig) []sinks.Sink {
	t.Helper()
	sinks, err := announce.Open(configs, deps)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sinks.Close()) })
	return sinks.All()
}

// openSink opens one sink until the test ends.
func openSink(t testing.TB, deps sinks.Dependencies, settings sinks.Settings) sinks.Sink {
	t.Helper()
	require.NoError(t, settings.Validate())
	return openSinks(t, deps, announce.SinkConfig{Name: "ops", Settings: settings})[0]
}
