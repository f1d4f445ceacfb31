package metrics

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

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

// NewOutboxCollector reads the outbox when it is scraped. Where it cannot be read, gatehouse_outbox_up is 0
// and the others are left out.
func NewOutboxCollector(stats OutboxStats) prometheus.Collector {
	var (
		pending  = gauge("gatehouse_outbox_pending", "Announcements that the sink has not confirmed and that are not dead.", "sink")
		oldest   = gauge("gatehouse_outbox_oldest_seconds", "Age of the oldest announcement that waits for the sink; 0 when none does.", "sink")
		dead     = gauge("gatehouse_outbox_dead", "Announcements that were given up and wait for an operator.", "sink")
		disabled = gauge("gatehouse_outbox_sink_disabled", "Whether the sink is disabled: its announcements wait.", "sink")
		up       = gauge("gatehouse_outbox_up", "Whether the outbox could be read for this scrape.")
	)
	return scraped{[]figure{pending, oldest, dead, disabled, up}, func(ctx context.Context, show show) {
		sinks, err := stats(ctx)
		show(up, oneIf(err == nil))
		if err != nil {
			return
		}
		for _, s := range sinks {
			show(pending, float64(s.Pending), s.Sink)
			show(oldest, s.OldestSeconds, s.Sink)
			show(dead, float64(s.Dead), s.Sink)
			show(disabled, oneIf(s.Disabled), s.Sink)
		}
	}}
}
