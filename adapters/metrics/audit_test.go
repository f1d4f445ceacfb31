package metrics_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/metrics"
	"github.com/molecule-ai/gatehouse/server/audit"
)

func TestLastAuditIsShown(t *testing.T) {
	finished := time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC)
	run := &audit.Run{
		State: audit.Finished, FinishedAt: &finished, Worked: 1500 * time.Millisecond,
		Evaluated: 100, Denied: 4, Warned: 3, Failed: 2,
		Violations: map[string]int64{"GATE": 4, "OF_OTHER_POLICIES": 2, "OF_OLD_POLICIES": 1},
	}
	registry := prometheus.NewRegistry()
	audits := metrics.NewAudit(registry, policies{}, func(ctx context.Context) (*audit.Run, error) {
		_, bounded := ctx.Deadline()
		assert.True(t, bounded)
		return run, nil
	})
	audits.AuditRan("finished")
	require.Equal(t, []string{
		"gatehouse_audit_duration_seconds 1.5",
		"gatehouse_audit_last_run_timestamp_seconds 1.7750448e+09",
		`gatehouse_audit_runs_total{result="failed"} 0`,
		`gatehouse_audit_runs_total{result="finished"} 1`,
		`gatehouse_audit_runs_total{result="interrupted"} 0`,
		`gatehouse_audit_violations{code="GATE"} 4`,
		`gatehouse_audit_violations{code="other"} 3`,
		`gatehouse_audit_workspaces{result="allowed"} 91`,
		`gatehouse_audit_workspaces{result="denied"} 4`,
		`gatehouse_audit_workspaces{result="failed"} 2`,
		`gatehouse_audit_workspaces{result="warned"} 3`,
	}, series(t, registry))
}

func TestAuditCodeNotFoundLastIsZero(t *testing.T) {
	registry := prometheus.NewRegistry()
	metrics.NewAudit(registry, policies{}, func(context.Context) (*audit.Run, error) {
		return &audit.Run{FinishedAt: new(time.Now())}, nil
	})
	require.Contains(t, series(t, registry), `gatehouse_audit_violations{code="GATE"} 0`)
}

func TestScrapesDoNotAskTheStoreEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		finished := time.Now()
		asked, away := 0, error(nil)
		registry := prometheus.NewRegistry()
		metrics.NewAudit(registry, policies{}, func(context.Context) (*audit.Run, error) {
			asked++
			return &audit.Run{FinishedAt: &finished}, away
		})
		for range 5 {
			require.Contains(t, series(t, registry), "gatehouse_audit_duration_seconds 0")
		}
		require.Equal(t, 1, asked)

		time.Sleep(15 * time.Second)
		away = errors.New("away")
		for range 2 {
			require.NotContains(t, scrape(t, registry), "gatehouse_audit_duration_seconds ", "an old number looks like a healthy one")
		}
		require.Equal(t, 2, asked)
	})
}

// time() - gatehouse_audit_last_run_timestamp_seconds grows from the start, so that an audit that never comes is seen.
func TestBeforeTheFirstAuditItsTimeIsZero(t *testing.T) {
	registry := prometheus.NewRegistry()
	metrics.NewAudit(registry, policies{}, func(context.Context) (*audit.Run, error) { return nil, nil })
	require.Equal(t, []string{
		"gatehouse_audit_last_run_timestamp_seconds 0",
		`gatehouse_audit_runs_total{result="failed"} 0`,
		`gatehouse_audit_runs_total{result="finished"} 0`,
		`gatehouse_audit_runs_total{result="interrupted"} 0`,
	}, series(t, registry))
}
