package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// statsTimeout is well below the ten seconds after which Prometheus gives a scrape up.
const statsTimeout = time.Second

// newCounters registers counters with one label and makes a series, at 0, for each of its values: rate() sees no
// increase in a series that begins at 1.
func newCounters(registerer prometheus.Registerer, name, help, label string, values ...string) *prometheus.CounterVec {
	counters := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	registerer.MustRegister(counters)
	for _, value := range values {
		counters.WithLabelValues(value)
	}
	return counters
}

// figure is a metric whose values are read at each scrape.
type figure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func gauge(name, help string, labels ...string) figure {
	return figure{prometheus.NewDesc(name, help, labels, nil), prometheus.GaugeValue}
}

func counter(name, help string) figure {
	return figure{prometheus.NewDesc(name, help, nil, nil), prometheus.CounterValue}
}

// show gives one value of a figure to Prometheus.
type show func(f figure, value float64, labels ...string)

// scraped is a collector of figures that are read together. read shows only what it could read: an old number would
// look like a healthy one.
type scraped struct {
	figures []figure
	read    func(ctx context.Context, show show)
}

func (s scraped) Describe(descs chan<- *prometheus.Desc) {
	for _, f := range s.figures {
		descs <- f.desc
	}
}

func (s scraped) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), statsTimeout)
	defer cancel()
	s.read(ctx, func(f figure, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(f.desc, f.kind, value, labels...)
	})
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

func unixSeconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }
