package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/molecule-ai/gatehouse/server/ledger"
)

// Retention counts what is deleted because of its age.
type Retention struct {
	pruned *prometheus.CounterVec
	runs   *prometheus.CounterVec
	doubt  prometheus.Gauge
}

// NewRetention registers the metrics of pruning.
func NewRetention(registerer prometheus.Registerer) *Retention {
	r := &Retention{
		pruned: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_decisions_pruned_total",
			Help: "What was deleted because of its age, by this process: decisions one by one, whole partitions of them, uids of requests.",
		}, []string{"what"}),
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_decision_prune_runs_total",
			Help: "Attempts to delete what is too old and to make room for what is to come, by result (ok, failed).",
		}, []string{"result"}),
		doubt: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "gatehouse_decision_prune_clock_doubted",
			Help: "Whether the clock is so far ahead of when old decisions were last deleted that none are deleted by it: 1 while it is not believed.",
		}),
	}
	registerer.MustRegister(r.pruned, r.runs, r.doubt)
	for _, what := range []string{"decisions", "partitions", "uids"} {
		r.pruned.WithLabelValues(what)
	}
	for _, result := range []string{"ok", "failed"} {
		r.runs.WithLabelValues(result)
	}
	return r
}

// Pruned counts a run. What it deleted before it failed, if it did, counts too.
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

// ClockDoubted says whether the clock is believed.
func (r *Retention) ClockDoubted(doubted bool) { r.doubt.Set(boolGauge(doubted)) }
