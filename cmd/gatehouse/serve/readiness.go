package serve

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/molecule-ai/gatehouse/adapters/metrics"
	"github.com/molecule-ai/gatehouse/server/readiness"
)

// newReadiness watches what reviews need, and shows it to the metrics.
func newReadiness(live livePolicies, store *openStore, registry *prometheus.Registry, logger *slog.Logger) *readiness.Readiness {
	ready := readiness.New(readiness.Options{
		Facts: store.factsReady, Ledger: store.ledgerReady, Outbox: store.outboxReady, Policies: live.ready, Logger: logger,
	})
	registry.MustRegister(metrics.NewReadinessCollector(func(ctx context.Context) map[string]bool {
		states := make(map[string]bool)
		for _, state := range ready.States(ctx) {
			states[string(state.Component)] = state.Err == nil
		}
		return states
	}))
	return ready
}
