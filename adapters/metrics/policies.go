package metrics

import (
	"context"
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

// NewPolicyCollector collects the state of the policies.
func NewPolicyCollector(policies Policies) prometheus.Collector {
	var (
		info      = gauge("gatehouse_policy_info", "The live policies, by revision and source; 1 while they are live.", "revision", "source")
		success   = gauge("gatehouse_policy_last_success_timestamp_seconds", "When the live policies became live, as Unix time.")
		failures  = counter("gatehouse_policy_reload_failures_total", "Sets of policies that were refused since the start.")
		confirmed = gauge("gatehouse_policy_confirmed_timestamp_seconds",
			"When the live policies were last known to be what their source has, as Unix time.")
		stale = gauge("gatehouse_policy_stale",
			"Whether the source of the live policies is out of reach or has policies that were refused.")
		refused = gauge("gatehouse_policy_refused",
			"Whether the source has policies that were refused, so that older ones are live.")
		fastPath = gauge("gatehouse_policy_fast_path",
			"Whether the fast path decides: 0 while OPA alone does, because of --evaluator or because they disagreed.")
		weaker = gauge("gatehouse_policy_weaker",
			"In how many ways the live policies hold less than the shipped ones, by code; other is what is of no one code.", "code")
	)
	figures := []figure{info, success, failures, confirmed, stale, refused, fastPath, weaker}
	return scraped{figures, func(_ context.Context, show show) {
		state := policies.PolicyState()
		show(failures, float64(state.Failures))
		show(refused, oneIf(state.Refused))
		if state.Revision == "" {
			return
		}
		show(info, 1, state.Revision, state.Source)
		show(success, unixSeconds(state.Since))
		show(confirmed, unixSeconds(state.Confirmed))
		for code, ways := range state.Weaker {
			show(weaker, float64(ways), code)
		}
		show(stale, oneIf(state.Stale))
		show(fastPath, oneIf(state.FastPath))
	}}
}
