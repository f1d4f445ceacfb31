package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// OutboxStats reads how many announcements wait, and for how long the oldest has.
type OutboxStats func(ctx context.Context) (pending int, oldest time.Duration, err error)

// statsTimeout is well below the ten seconds after which Prometheus gives a scrape up.
const statsTimeout = time.Second

type outboxCollector struct {
	stats   OutboxStats
	pending *prometheus.Desc
	oldest  *prometheus.Desc
	up      *prometheus.Desc
}

// NewOutboxCollector reads the outbox when it is scraped. Where it cannot be read, gatehouse_outbox_up is 0
// and the others are left out: an old number would look like a healthy one.
func NewOutboxCollector(stats OutboxStats) prometheus.Collector {
	return outboxCollector{
		stats: stats,
		pending: prometheus.NewDesc("gatehouse_outbox_pending",
			"Announcements that no subscriber has yet confirmed.", nil, nil),
		oldest: prometheus.NewDesc("gatehouse_outbox_oldest_seconds",
			"Age of the oldest announcement that waits; 0 when none does.", nil, nil),
		up: prometheus.NewDesc("gatehouse_outbox_up",
			"Whether the outbox could be read for this scrape.", nil, nil),
	}
}

func (c outboxCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- c.pending
	descs <- c.oldest
	descs <- c.up
}

func (c outboxCollector) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), statsTimeout)
	defer cancel()
	pending, oldest, err := c.stats(ctx)
	if err != nil {
		metrics <- prometheus.MustNewConstMetric(c.up, prometheus.GaugeValue, 0)
		return
	}
	metrics <- prometheus.MustNewConstMetric(c.up, prometheus.GaugeValue, 1)
	metrics <- prometheus.MustNewConstMetric(c.pending, prometheus.GaugeValue, float64(pending))
	metrics <- prometheus.MustNewConstMetric(c.oldest, prometheus.GaugeValue, oldest.Seconds())
}

// Announcements counts what came of deliveries to sinks.
type Announcements struct {
	results *prometheus.CounterVec
}

// NewAnnouncements registers the metric with a series for every configured sink, so that a rate over the
// first failure is not lost.
func NewAnnouncements(registerer prometheus.Registerer, sinks []string) *Announcements {
	a := &Announcements{results: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "gatehouse_announcements_total",
		Help: "Deliveries to sinks, by sink and result (delivered, retried, dead).",
	}, []string{"sink", "result"})}
	registerer.MustRegister(a.results)
	for _, sink := range sinks {
		for _, result := range []string{"delivered", "retried", "dead"} {
			a.results.WithLabelValues(sink, result)
		}
	}
	return a
}

// Delivered counts one attempt.
func (a *Announcements) Delivered(sink, result string) {
	a.results.WithLabelValues(sink, result).Inc()
}
