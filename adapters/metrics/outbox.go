package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// SinkStats is how one sink is doing. Sinks are those that are configured, and other for the rest.
type SinkStats struct {
	Sink          string
	Pending       int
	OldestSeconds float64
	Dead          int
	Disabled      bool
}

// OutboxStats reads how the sinks are doing.
type OutboxStats func(ctx context.Context) ([]SinkStats, error)

// statsTimeout is well below the ten seconds after which Prometheus gives a scrape up.
const statsTimeout = time.Second

type outboxCollector struct {
	stats    OutboxStats
	pending  *prometheus.Desc
	oldest   *prometheus.Desc
	dead     *prometheus.Desc
	disabled *prometheus.Desc
	up       *prometheus.Desc
}

// NewOutboxCollector reads the outbox when it is scraped. Where it cannot be read, gatehouse_outbox_up is 0
// and the others are left out: an old number would look like a healthy one.
func NewOutboxCollector(stats OutboxStats) prometheus.Collector {
	bySink := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("gatehouse_outbox_"+name, help, []string{"sink"}, nil)
	}
	return outboxCollector{
		stats:    stats,
		pending:  bySink("pending", "Announcements that the sink has not confirmed and that are not dead."),
		oldest:   bySink("oldest_seconds", "Age of the oldest announcement that waits for the sink; 0 when none does."),
		dead:     bySink("dead", "Announcements that were given up and wait for an operator."),
		disabled: bySink("sink_disabled", "Whether the sink is disabled: its announcements wait."),
		up:       prometheus.NewDesc("gatehouse_outbox_up", "Whether the outbox could be read for this scrape.", nil, nil),
	}
}

func (c outboxCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{c.pending, c.oldest, c.dead, c.disabled, c.up} {
		descs <- desc
	}
}

func (c outboxCollector) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), statsTimeout)
	defer cancel()
	stats, err := c.stats(ctx)
	if err != nil {
		metrics <- prometheus.MustNewConstMetric(c.up, prometheus.GaugeValue, 0)
		return
	}
	metrics <- prometheus.MustNewConstMetric(c.up, prometheus.GaugeValue, 1)
	for _, sink := range stats {
		gauge := func(desc *prometheus.Desc, value float64) {
			metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, sink.Sink)
		}
		gauge(c.pending, float64(sink.Pending))
		gauge(c.oldest, sink.OldestSeconds)
		gauge(c.dead, float64(sink.Dead))
		gauge(c.disabled, boolGauge(sink.Disabled))
	}
}

func boolGauge(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
