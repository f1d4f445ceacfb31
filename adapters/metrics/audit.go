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

	violations *prometheus.Desc
	workspaces *prometheus.Desc
	at         *prometheus.Desc
	duration   *prometheus.Desc

	mutex sync.Mutex
	read  time.Time
	known *audit.Run // nil: there is none
	away  bool       // known could not be read
}

// NewAudit registers the metrics of audits. policies bounds the codes that appear as labels.
func NewAudit(registerer prometheus.Registerer, policies Policies, last LastAudit) *Audit {
	a := &Audit{
		policies: policies, last: last,
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_audit_runs_total",
			Help: "Audits that this process worked on, by result (finished, interrupted, failed).",
		}, []string{"result"}),
		violations: prometheus.NewDesc("gatehouse_audit_violations",
			"Workspaces with a violation of a code, of any enforcement, in the last finished audit of the live policies.", []string{"code"}, nil),
		workspaces: prometheus.NewDesc("gatehouse_audit_workspaces",
			"Workspaces of the last finished audit of the live policies, by result (allowed, warned, denied, failed).", []string{"result"}, nil),
		at: prometheus.NewDesc("gatehouse_audit_last_run_timestamp_seconds",
			"When the last finished audit of the live policies finished, as Unix time; 0 while none has.", nil, nil),
		duration: prometheus.NewDesc("gatehouse_audit_duration_seconds",
			"How long the last finished audit of the live policies worked, without interruptions.", nil, nil),
	}
	for _, result := range []string{"finished", "interrupted", "failed"} {
		a.runs.WithLabelValues(result)
	}
	registerer.MustRegister(a.runs, a)
	return a
}

// AuditRan counts a run.
func (a *Audit) AuditRan(result string) { a.runs.WithLabelValues(result).Inc() }

// Describe implements prometheus.Collector.
func (a *Audit) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{a.violations, a.workspaces, a.at, a.duration} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector. Where the last audit cannot be read nothing is shown: an old number would
// look like a healthy one.
func (a *Audit) Collect(metrics chan<- prometheus.Metric) {
	run, away := a.current()
	if away {
		return
	}
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	if run == nil {
		gauge(a.at, 0)
		return
	}
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
	for code, n := range byCode {
		gauge(a.violations, float64(n), code)
	}
	gauge(a.workspaces, float64(run.Evaluated-run.Denied-run.Warned-run.Failed), "allowed")
	gauge(a.workspaces, float64(run.Warned), "warned")
	gauge(a.workspaces, float64(run.Denied), "denied")
	gauge(a.workspaces, float64(run.Failed), "failed")
	gauge(a.at, float64(run.FinishedAt.UnixMicro())/1e6)
	gauge(a.duration, run.Worked.Seconds())
}

// current gives the last audit, read again if what is known is too old. away says that it could not be read.
func (a *Audit) current() (run *audit.Run, away bool) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	now := time.Now()
	if !a.read.IsZero() && now.Sub(a.read) < auditAge {
		return a.known, a.away
	}
	ctx, cancel := context.WithTimeout(context.Background(), statsTimeout)
	defer cancel()
	run, err := a.last(ctx)
	a.read, a.known, a.away = now, run, err != nil
	return a.known, a.away
}
