package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// Shadow counts what candidate policies say beside the live ones.
type Shadow struct {
	divergences *prometheus.CounterVec
	evaluations *prometheus.CounterVec
	dropped     prometheus.Counter
	unrecorded  prometheus.Counter
}

// NewShadow registers the metrics of the shadow. Codes are those that rules declare, and not a caller's.
func NewShadow(registerer prometheus.Registerer) *Shadow {
	s := &Shadow{
		divergences: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_policy_shadow_divergences_total",
			Help: "Reviews of which the candidate policies said something else, by code of the rule that makes the difference and kind.",
		}, []string{"code", "kind"}),
		evaluations: newCounters(registerer, "gatehouse_policy_shadow_evaluations_total",
			"Evaluations of candidate policies, by result (same, diverged, error).", "result", "same", "diverged", "error"),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gatehouse_policy_shadow_dropped_total",
			Help: "Reviews that the candidate policies were not shown, because too many waited or they were still being loaded.",
		}),
		unrecorded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gatehouse_policy_shadow_record_failures_total",
			Help: "Divergences that could not be stored.",
		}),
	}
	registerer.MustRegister(s.divergences, s.dropped, s.unrecorded)
	s.divergences.WithLabelValues("", string(admission.CandidateError))
	return s
}

// Expect makes the series, at 0, of the divergences that rules of these codes can make.
func (s *Shadow) Expect(codes []string) {
	for _, code := range codes {
		for _, kind := range []admission.DivergenceKind{admission.DenyToAllow, admission.AllowToDeny, admission.VerdictChanged} {
			s.divergences.WithLabelValues(code, string(kind))
		}
	}
}

// Evaluated counts an evaluation by its result.
func (s *Shadow) Evaluated(result string) { s.evaluations.WithLabelValues(result).Inc() }

// Diverged counts a divergence; code is "" for an error.
func (s *Shadow) Diverged(kind admission.DivergenceKind, code string) {
	s.divergences.WithLabelValues(code, string(kind)).Inc()
}

// Dropped counts a review that was not evaluated.
func (s *Shadow) Dropped() { s.dropped.Inc() }

// RecordFailed counts a divergence that was lost.
func (s *Shadow) RecordFailed() { s.unrecorded.Inc() }

// NewDryRun says whether the server enforces nothing.
func NewDryRun(dry bool) prometheus.Collector {
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "gatehouse_dry_run", Help: "Whether the server answers every deny as an allow with warnings: 1 while nothing is enforced.",
	})
	gauge.Set(oneIf(dry))
	return gauge
}
