package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/molecule-ai/gatehouse/adapters/opa/verify"
)

// Verify counts live decisions that OPA made again. It implements verify.Meter.
type Verify struct {
	verified      *prometheus.CounterVec
	disagreements prometheus.Counter
}

// NewVerify registers the metrics of decisions that are made again.
func NewVerify(registerer prometheus.Registerer) *Verify {
	v := &Verify{
		verified: newCounters(registerer, "gatehouse_policy_verifications_total",
			"Live decisions that were picked to be made again by OPA, by result (same, disagreed, error, dropped).",
			"result", verify.Same, verify.Disagreed, verify.Failed, verify.Dropped),
		disagreements: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gatehouse_policy_disagreements_total",
			Help: "Live decisions on which OPA said otherwise than the fast path, which is off since.",
		}),
	}
	registerer.MustRegister(v.disagreements)
	return v
}

// Verified counts one of them.
func (v *Verify) Verified(result string) {
	v.verified.WithLabelValues(result).Inc()
	if result == verify.Disagreed {
		v.disagreements.Inc()
	}
}
