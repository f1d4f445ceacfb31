package metrics_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/metrics"
)

func TestUploadIsCountedAndItsBacklogShown(t *testing.T) {
	registry := prometheus.NewRegistry()
	pending, away := int64(12), error(nil)
	log := metrics.NewDecisionLog(registry, func(context.Context) (int64, time.Duration, error) {
		return pending, 1500 * time.Millisecond, away
	})
	log.Uploaded("accepted")
	log.Uploaded("accepted")
	log.Uploaded("retried")

	requireSeries(t, registry, "gatehouse_decision_log_uploads_total", `
		{result="accepted"} 2
		{result="retried"} 1
		{result="refused"} 0`)
	require.Contains(t, series(t, registry), "gatehouse_decision_log_pending 12")
	require.Contains(t, series(t, registry), "gatehouse_decision_log_oldest_seconds 1.5")

	away = errors.New("the database is away")
	for _, line := range series(t, registry) {
		require.NotContains(t, line, "gatehouse_decision_log_pending", "an old number would look like a healthy one")
	}
}
