package metrics_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/metrics"
	"github.com/molecule-ai/gatehouse/server/admission"
)

func TestShadowIsCounted(t *testing.T) {
	registry := prometheus.NewRegistry()
	shadow := metrics.NewShadow(registry)
	for range 3 {
		shadow.Evaluated("same")
		shadow.Dropped()
	}
	shadow.Evaluated("diverged")
	shadow.Diverged(admission.DenyToAllow, "GATE")
	shadow.Evaluated("error")
	shadow.Diverged(admission.CandidateError, "")
	shadow.RecordFailed()

	requireSeries(t, registry, "gatehouse_policy_shadow_evaluations_total", `
		{result="same"} 3
		{result="diverged"} 1
		{result="error"} 1`)
	requireSeries(t, registry, "gatehouse_policy_shadow_divergences_total", `
		{code="",kind="error"} 1
		{code="GATE",kind="deny_to_allow"} 1`)
	require.Contains(t, series(t, registry), "gatehouse_policy_shadow_dropped_total 3")
	require.Contains(t, series(t, registry), "gatehouse_policy_shadow_record_failures_total 1")
}

func TestDivergenceCountersStartAtZero(t *testing.T) {
	registry := prometheus.NewRegistry()
	metrics.NewShadow(registry).Expect([]string{"GATE"})
	requireSeries(t, registry, "gatehouse_policy_shadow_divergences_total", `
		{code="",kind="error"} 0
		{code="GATE",kind="allow_to_deny"} 0
		{code="GATE",kind="changed"} 0
		{code="GATE",kind="deny_to_allow"} 0`)
}

func TestDryRunGaugeIsOne(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.NewDryRun(true))
	require.Contains(t, series(t, registry), "gatehouse_dry_run 1")

	registry = prometheus.NewRegistry()
	observer := metrics.NewAdmission(registry, policies{})
	observer.Reviewed(t.Context(), outcome(also(denied("GATE"), func(o *admission.Outcome) {
		o.Decision.DryRun, o.Decision.Unenforced = true, true
	})))
	requireCounted(t, registry, "gatehouse_admission_decisions_total", `
		{code="GATE",decision="dry_run",hook="register",kind="platform"} 1`)
	requireSeries(t, registry, "gatehouse_decision_records_total", `
		{result="failed"} 0
		{result="error_recorded"} 0
		{result="error_lost"} 0
		{result="recorded"} 1
		{result="repeated"} 0`)
}
