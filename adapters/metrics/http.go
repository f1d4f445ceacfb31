package metrics

import (
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
