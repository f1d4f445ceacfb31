package announce

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestQuietHandlerSaysAWarningOnce(t *testing.T) {
	var text strings.Builder
	log := slog.New(newQuietHandler(slog.NewTextHandler(&text, nil)))
	log.Info("working")
	for range 3 {
		log.Error("no database", "attempt", 1)
		log.With("queue", "q").Error("no jobs")
	}
	require.Equal(t, 2, strings.Count(text.String(), "\n"), text.String())
	require.Equal(t, 2, strings.Count(text.String(), "level=WARN"))
	require.Equal(t, 2, strings.Count(text.String(), "component=river"))
}
