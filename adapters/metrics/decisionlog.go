package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// DecisionLog shows how the upload of decisions is doing.
type DecisionLog struct {
	uploads *prometheus.CounterVec
	backlog DecisionBacklog
	pending *prometheus.Desc
	oldest  *prometheus.Desc
}

// DecisionBacklog is about how many decisions the collector has not got, and for how long the oldest of them has
// waited.
type DecisionBacklog func(ctx context.Context) (pending int64, oldest time.Duration, err error)

// NewDecisionLog registers the metrics. The backlog is that of the store, so every replica shows the same, whichever
// of them uploads; where it cannot be read it is left out.
func NewDecisionLog(registerer prometheus.Registerer, backlog DecisionBacklog) *DecisionLog {
	l := &DecisionLog{
		uploads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_decision_log_uploads_total",
			Help: "Uploads to the collector of decision logs, by result (accepted, retried, refused: a decision was passed over).",
		}, []string{"result"}),
		backlog: backlog,
		pending: prometheus.NewDesc("gatehouse_decision_log_pending", "Decisions that the collector has not got, about.", nil, nil),
		oldest: prometheus.NewDesc("gatehouse_decision_log_oldest_seconds",
			"Age of the oldest decision that the collector has not got; 0 when it has all.", nil, nil),
	}
	for _, result := range []string{"accepted", "retried", "refused"} {
		l.uploads.WithLabelValues(result)
	}
	registerer.MustRegister(l.uploads, l)
	return l
}

// Uploaded counts one upload.
func (l *DecisionLog) Uploaded(result string) { l.uploads.WithLabelValues(result).Inc() }

// Describe implements prometheus.Collector.
func (l *DecisionLog) Describe(descs chan<- *prometheus.Desc) {
	descs <- l.pending
	descs <- l.oldest
}

// Collect implements prometheus.Collector.
func (l *DecisionLog) Collect(found chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), statsTimeout)
	defer cancel()
	pending, oldest, err := l.backlog(ctx)
	if err != nil {
		return
	}
	found <- prometheus.MustNewConstMetric(l.pending, prometheus.GaugeValue, float64(pending))
	found <- prometheus.MustNewConstMetric(l.oldest, prometheus.GaugeValue, oldest.Seconds())
}
