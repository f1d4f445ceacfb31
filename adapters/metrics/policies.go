package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Policies tells what is live. It bounds labels and feeds the policy metrics.
type Policies interface {
	HasHook(hook string) bool
	HasCode(code string) bool
	PolicyState() PolicyState
}

// PolicyState is the state of the policies at one moment.
type PolicyState struct {
	Revision string // "" when none are live
	Source   string
	Since    time.Time // of the last success
	Failures int64     // loads that were refused since the start
}

type policyCollector struct {
	policies Policies
	info     *prometheus.Desc
	success  *prometheus.Desc
	failures *prometheus.Desc
}

// NewPolicyCollector collects the state of the policies.
func NewPolicyCollector(policies Policies) prometheus.Collector {
	return policyCollector{
		policies: policies,
		info: prometheus.NewDesc("gatehouse_policy_info",
			"The live policies, by revision and source; 1 while they are live.", []string{"revision", "source"}, nil),
		success: prometheus.NewDesc("gatehouse_policy_last_success_timestamp_seconds",
			"When the live policies became live, as Unix time.", nil, nil),
		failures: prometheus.NewDesc("gatehouse_policy_reload_failures_total",
			"Sets of policies that were refused since the start.", nil, nil),
	}
}

func (c policyCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- c.info
	descs <- c.success
	descs <- c.failures
}

func (c policyCollector) Collect(metrics chan<- prometheus.Metric) {
	state := c.policies.PolicyState()
	metrics <- prometheus.MustNewConstMetric(c.failures, prometheus.CounterValue, float64(state.Failures))
	if state.Revision == "" {
		return
	}
	metrics <- prometheus.MustNewConstMetric(c.info, prometheus.GaugeValue, 1, state.Revision, state.Source)
	metrics <- prometheus.MustNewConstMetric(c.success, prometheus.GaugeValue, float64(state.Since.UnixMilli())/1000)
}
