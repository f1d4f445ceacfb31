package metrics

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/molecule-ai/gatehouse/server/audit"
)

// LastAudit reads the last audit of what servers have live that saw every workspace, nil if there is none.
type LastAudit func(ctx context.Context) (*audit.Run, error)

// auditAge is how old what is shown of the last audit may be: audits take minutes, and every scrape of every
// replica would ask the store.
const auditAge = 15 * time.Second

// Audit shows the last audit, which is the same on every replica, and counts those that this process worked on. It
// implements audit.Meter.
type Audit struct {
	policies Policies
	last     LastAudit
	runs     *prometheus.CounterVec

	mutex sync.Mutex
	read  time.Time
	known *audit.Run // nil: there is none
	away  bool       // known could not be read
}

// NewAudit registers the metrics of audits. policies bounds the codes that appear as labels.
func NewAudit(registerer prometheus.Registerer, policies Policies, last LastAudit) *Audit {
	a := &Audit{
		policies: policies, last: last,
		runs: newCounters(registerer, "gatehouse_audit_runs_total",
			"Audits that this process worked on, by result (finished, interrupted, failed).",
			"result", "finished", "interrupted", "failed"),
	}
	registerer.MustRegister(a.lastRun())
	return a
}

// AuditRan counts a run.
func (a *Audit) AuditRan(result string) { a.runs.WithLabelValues(result).Inc() }

// lastRun shows the last audit. Where it cannot be read nothing is shown.
func (a *Audit) lastRun() scraped {
	var (
		violations = gauge("gatehouse_audit_violations",
			"Workspaces with a violation of a code, of any enforcement, in the last finished audit of the live policies.", "code")
		workspaces = gauge("gatehouse_audit_workspaces",
			"Workspaces of the last finished audit of the live policies, by result (allowed, warned, denied, failed).", "result")
		at = gauge("gatehouse_audit_last_run_timestamp_seconds",
			"When the last finished audit of the live policies finished, as Unix time; 0 while none has.")
		duration = gauge("gatehouse_audit_duration_seconds",
			"How long the last finished audit of the live policies worked, without interruptions.")
	)
	return scraped{[]figure{violations, workspaces, at, duration}, func(ctx context.Context, show show) {
		run, away := a.current(ctx)
		if away {
			return
		}
		if run == nil {
			show(at, 0)
			return
		}
		for code, n := range a.violations(run) {
			show(violations, float64(n), code)
		}
		show(workspaces, float64(run.Evaluated-run.Denied-run.Warned-run.Failed), "allowed")
		show(workspaces, float64(run.Warned), "warned")
		show(workspaces, float64(run.Denied), "denied")
		show(workspaces, float64(run.Failed), "failed")
		show(at, unixSeconds(*run.FinishedAt))
		show(duration, run.Worked.Seconds())
	}}
}

// violations counts by the codes of the live policies. Codes of a run that they no longer have are counted as other.
func (a *Audit) violations(run *audit.Run) map[string]int64 {
	byCode := make(map[string]int64, len(run.Violations))
	for _, code := range a.policies.Codes() {
		byCode[code] = 0
	}
	for code, n := range run.Violations {
		if !a.policies.HasCode(code) {
			code = other
		}
		byCode[code] += n
	}
	return byCode
}

// current gives the last audit, read again if what is known is too old. away says that it could not be read.
func (a *Audit) current(ctx context.Context) (run *audit.Run, away bool) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	now := time.Now()
	if !a.read.IsZero() && now.Sub(a.read) < auditAge {
		return a.known, a.away
	}
	run, err := a.last(ctx)
	a.read, a.known, a.away = now, run, err != nil
	return a.known, a.away
}
