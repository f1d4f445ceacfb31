package metrics

import (
	"context"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// HTTP counts requests. It implements server.Observer.
type HTTP struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

// NewHTTP registers the metrics of HTTP requests. Routes are patterns and not paths.
func NewHTTP(registerer prometheus.Registerer) *HTTP {
	h := &HTTP{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_http_requests_total",
			Help: "HTTP requests by route, method and status.",
		}, []string{"route", "method", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "gatehouse_http_request_duration_seconds",
			Help:    "Time from a request's headers to the end of its answer, by route.",
			Buckets: reviewBuckets,
		}, []string{"route"}),
	}
	registerer.MustRegister(h.requests, h.duration)
	return h
}

// Expect makes the series, at 0, of what a route can answer: rate() sees no increase in a series that begins at 1.
func (h *HTTP) Expect(route, method string, statuses []int) {
	h.duration.WithLabelValues(route)
	for _, status := range statuses {
		h.requests.WithLabelValues(route, method, strconv.Itoa(status))
	}
}

// Served implements server.Observer.
func (h *HTTP) Served(route, method string, status int, took time.Duration) {
	h.requests.WithLabelValues(route, method, strconv.Itoa(status)).Inc()
	h.duration.WithLabelValues(route).Observe(took.Seconds())
}

// NewBuildInfo says which version runs.
func NewBuildInfo(version string) prometheus.Collector {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "gatehouse_build_info", Help: "The version that runs and the Go that built it; always 1.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	info.Set(1)
	return info
}

// ReadyStates says of every component that reviews need whether it works.
type ReadyStates func(ctx context.Context) map[string]bool

// NewReadinessCollector looks at the components when it is scraped.
func NewReadinessCollector(states ReadyStates) prometheus.Collector {
	ready := gauge("gatehouse_ready",
		"Whether reviews can be decided as far as one component goes (facts, ledger, outbox, policies): 1 if they can.", "component")
	return scraped{[]figure{ready}, func(ctx context.Context, show show) {
		for component, works := range states(ctx) {
			show(ready, oneIf(works), component)
		}
	}}
}

// Settings counts what becomes of settings in files that change.
type Settings struct {
	failures *prometheus.CounterVec
}

// NewSettings registers the metrics of settings.
func NewSettings(registerer prometheus.Registerer) *Settings {
	return &Settings{newCounters(registerer, "gatehouse_setting_reread_failures_total",
		"Changes of files (tokens, keys, certificates, secrets) that could not be used, by setting: what was good before stays in use.",
		"setting")}
}

// Watched makes the series of a setting, at 0.
func (s *Settings) Watched(setting string) { s.failures.WithLabelValues(setting) }

// Failed counts a change that could not be used.
func (s *Settings) Failed(setting string) { s.failures.WithLabelValues(setting).Inc() }
