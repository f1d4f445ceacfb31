package metrics

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// ReadyStates says of every component that reviews need whether it works.
type ReadyStates func(ctx context.Context) map[string]bool

type readinessCollector struct {
	states ReadyStates
	ready  *prometheus.Desc
}

// NewReadinessCollector looks at the components when it is scraped.
func NewReadinessCollector(states ReadyStates) prometheus.Collector {
	return readinessCollector{states, prometheus.NewDesc("gatehouse_ready",
		"Whether reviews can be decided as far as one component goes (facts, ledger, outbox, policies): 1 if they can.",
		[]string{"component"}, nil)}
}

func (c readinessCollector) Describe(descs chan<- *prometheus.Desc) { descs <- c.ready }

func (c readinessCollector) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), statsTimeout)
	defer cancel()
	for component, works := range c.states(ctx) {
		metrics <- prometheus.MustNewConstMetric(c.ready, prometheus.GaugeValue, boolGauge(works), component)
	}
}
