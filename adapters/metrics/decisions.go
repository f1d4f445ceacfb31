package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/molecule-ai/gatehouse/server/ledger"
)

// DecisionLog counts uploads of decisions to a collector.
type DecisionLog struct {
	uploads *prometheus.CounterVec
}

// DecisionBacklog reads about how many decisions the collector has not got, and for how long the oldest of them has
// waited.
type DecisionBacklog func(ctx context.Context) (pending int64, oldest time.Duration, err error)

// NewDecisionLog registers the metrics. The backlog is that of the store, so every replica shows the same, whichever
// of them uploads; where it cannot be read it is left out.
func NewDecisionLog(registerer prometheus.Registerer, backlog DecisionBacklog) *DecisionLog {
	waiting := gauge("gatehouse_decision_log_pending", "Decisions that the collector has not got, about.")
	age := gauge("gatehouse_decision_log_oldest_seconds", "Age of the oldest decision that the collector has not got; 0 when it has all.")
	registerer.MustRegister(scraped{[]figure{waiting, age}, func(ctx context.Context, show show) {
		pending, oldest, err := backlog(ctx)
		if err != nil {
			return
		}
		show(waiting, float64(pending))
		show(age, oldest.Seconds())
	}})
	return &DecisionLog{newCounters(registerer, "gatehouse_decision_log_uploads_total",
		"Uploads to the collector of decision logs, by result (accepted, retried, refused: a decision was passed over).",
		"result", "accepted", "retried", "refused")}
}

// Uploaded counts one upload.
func (l *DecisionLog) Uploaded(result string) { l.uploads.WithLabelValues(result).Inc() }

// Retention counts what is deleted because of its age.
type Retention struct {
	pruned *prometheus.CounterVec
	runs   *prometheus.CounterVec
	doubt  prometheus.Gauge
}

// NewRetention registers the metrics of pruning.
func NewRetention(registerer prometheus.Registerer) *Retention {
	r := &Retention{
		pruned: newCounters(registerer, "gatehouse_decisions_pruned_total",
			"What was deleted because of its age, by this process: decisions one by one, whole partitions of them, uids of requests.",
			"what", "decisions", "partitions", "uids"),
		runs: newCounters(registerer, "gatehouse_decision_prune_runs_total",
			"Attempts to delete what is too old and to make room for what is to come, by result (ok, failed).",
			"result", "ok", "failed"),
		doubt: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "gatehouse_decision_prune_clock_doubted",
			Help: "Whether the clock is so far ahead of when old decisions were last deleted that none are deleted by it: 1 while it is not believed.",
		}),
	}
	registerer.MustRegister(r.doubt)
	return r
}

// Pruned counts a run. What a run deleted before it failed counts too.
func (r *Retention) Pruned(p ledger.Pruned, err error) {
	r.pruned.WithLabelValues("decisions").Add(float64(p.Decisions))
	r.pruned.WithLabelValues("partitions").Add(float64(len(p.Partitions)))
	r.pruned.WithLabelValues("uids").Add(float64(p.UIDs))
	result := "ok"
	if err != nil {
		result = "failed"
	}
	r.runs.WithLabelValues(result).Inc()
}

// ClockDoubted tells whether the clock is too far ahead to be believed.
func (r *Retention) ClockDoubted(doubted bool) { r.doubt.Set(oneIf(doubted)) }
