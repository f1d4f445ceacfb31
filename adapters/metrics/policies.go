package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Policies tells what is live. It bounds labels and feeds the policy metrics.
type Policies interface {
	HasHook(hook string) bool
	HasCode(code string) bool
	Hooks() []string
	Codes() []string
	PolicyState() PolicyState
}

// PolicyState is the state of the policies at one moment.
type PolicyState struct {
	Revision string // "" when none are live
	Source   string
	Since    time.Time // of the last success
	Failures int64     // loads that were refused since the start

	Confirmed time.Time // when they were last known to be what their source has
	Stale     bool      // their source has since been out of reach, or has had policies that were refused
	Refused   bool      // the source has policies that were refused
	FastPath  bool      // OPA alone decides if it is off

	// Weaker is in how many ways they hold less than the shipped ones, by code; "other" is of no one code. Their own codes
	// are there with 0.
	Weaker map[string]int
}

type policyCollector struct {
	policies Policies
	info     *prometheus.Desc
	success  *prometheus.Desc
	failures *prometheus.Desc

	confirmed *prometheus.Desc
	stale     *prometheus.Desc
	refused   *prometheus.Desc
	fastPath  *prometheus.Desc
	weaker    *prometheus.Desc
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
		confirmed: prometheus.NewDesc("gatehouse_policy_confirmed_timestamp_seconds",
			"When the live policies were last known to be what their source has, as Unix time.", nil, nil),
		stale: prometheus.NewDesc("gatehouse_policy_stale",
			"Whether the source of the live policies is out of reach or has policies that were refused.", nil, nil),
		refused: prometheus.NewDesc("gatehouse_policy_refused",
			"Whether the source has policies that were refused, so that older ones are live.", nil, nil),
		fastPath: prometheus.NewDesc("gatehouse_policy_fast_path",
			"Whether the fast path decides: 0 while OPA alone does, because of --evaluator or because they disagreed.", nil, nil),
		weaker: prometheus.NewDesc("gatehouse_policy_weaker",
			"In how many ways the live policies hold less than the shipped ones, by code; other is what is of no one code.", []string{"code"}, nil),
	}
}

func (c policyCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- c.info
	descs <- c.success
	descs <- c.failures
	descs <- c.confirmed
	descs <- c.stale
	descs <- c.refused
	descs <- c.fastPath
	descs <- c.weaker
}

func (c policyCollector) Collect(metrics chan<- prometheus.Metric) {
	state := c.policies.PolicyState()
	metrics <- prometheus.MustNewConstMetric(c.failures, prometheus.CounterValue, float64(state.Failures))
	metrics <- prometheus.MustNewConstMetric(c.refused, prometheus.GaugeValue, number(state.Refused))
	if state.Revision == "" {
		return
	}
	metrics <- prometheus.MustNewConstMetric(c.info, prometheus.GaugeValue, 1, state.Revision, state.Source)
	metrics <- prometheus.MustNewConstMetric(c.success, prometheus.GaugeValue, float64(state.Since.UnixMilli())/1000)
	metrics <- prometheus.MustNewConstMetric(c.confirmed, prometheus.GaugeValue, float64(state.Confirmed.UnixMilli())/1000)
	for code, ways := range state.Weaker {
		metrics <- prometheus.MustNewConstMetric(c.weaker, prometheus.GaugeValue, float64(ways), code)
	}
	metrics <- prometheus.MustNewConstMetric(c.stale, prometheus.GaugeValue, number(state.Stale))
	metrics <- prometheus.MustNewConstMetric(c.fastPath, prometheus.GaugeValue, number(state.FastPath))
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
