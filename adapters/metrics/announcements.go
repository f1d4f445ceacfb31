package metrics

import "github.com/prometheus/client_golang/prometheus"

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
