package metrics

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// reviewBuckets, in seconds, double from half a millisecond, where an evaluation alone ends, to the two
// seconds in which every review is answered. Halves of the default deadlines (250 ms and 500 ms) are bounds.
var reviewBuckets = []float64{0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.031, 0.0625, 0.125, 0.25, 0.5, 1, 2}

// other stands for a label value that is not in its closed set.
const other = "other"

// otherKind is the kind of a workspace that nothing was found out about.
const otherKind = other

// Admission counts reviews. It implements admission.Observer.
type Admission struct {
	policies  Policies
	decisions *prometheus.CounterVec
	errors    *prometheus.CounterVec
	records   *prometheus.CounterVec
	unmasked  prometheus.Counter
	duration  *prometheus.HistogramVec
	stages    *prometheus.HistogramVec
}

// NewAdmission registers the metrics of reviews. policies bounds the hooks and codes that appear as labels.
func NewAdmission(registerer prometheus.Registerer, policies Policies) *Admission {
	a := &Admission{
		policies: policies,
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_admission_decisions_total",
			Help: "Reviews by hook, decision (allow, deny, dry_run; refused: the caller's mistake; abandoned: the caller hung up; error: a fault of this service), code of the denying violation and kind of workspace.",
		}, []string{"hook", "decision", "code", "kind"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_admission_errors_total",
			Help: "Reviews that got no decision, by hook and error code.",
		}, []string{"hook", "code"}),
		records: newCounters(registerer, "gatehouse_decision_records_total",
			"Attempts to record a decision, by result (recorded, repeated, failed), or an error that was answered (error_recorded, error_lost).",
			"result", "recorded", "repeated", "failed", errorRecorded, errorLost),
		unmasked: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gatehouse_decision_mask_failures_total",
			Help: "Records whose input was erased, because it could not be masked.",
		}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "gatehouse_admission_duration_seconds",
			Help:    "Time from a decoded review to its answer, by hook.",
			Buckets: reviewBuckets,
		}, []string{"hook"}),
		stages: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "gatehouse_admission_stage_duration_seconds",
			Help:    "Time in one stage of a review (facts, policy, ledger).",
			Buckets: reviewBuckets,
		}, []string{"stage"}),
	}
	registerer.MustRegister(a, a.unmasked, a.stages)
	for _, stage := range []admission.Stage{admission.StageFacts, admission.StagePolicy, admission.StageLedger} {
		a.stages.WithLabelValues(string(stage))
	}
	return a
}

// Describe implements prometheus.Collector.
func (a *Admission) Describe(descs chan<- *prometheus.Desc) {
	for _, metric := range a.collectors() {
		metric.Describe(descs)
	}
}

// Collect implements prometheus.Collector.
func (a *Admission) Collect(metrics chan<- prometheus.Metric) {
	a.expect()
	for _, metric := range a.collectors() {
		metric.Collect(metrics)
	}
}

func (a *Admission) collectors() []prometheus.Collector {
	return []prometheus.Collector{a.decisions, a.errors, a.duration}
}

// expect makes a series, at 0, of everything that a review can come to by the live policies: rate() sees no increase
// in a series that begins at 1. It is done at each scrape, because a reload can bring hooks and codes. What it brought
// before stays: a counter that goes away and comes back looks like one that was reset.
func (a *Admission) expect() {
	codes := a.policies.Codes()
	for _, hook := range a.policies.Hooks() {
		a.duration.WithLabelValues(hook)
		for _, kind := range []string{"platform", "workspace", otherKind} {
			a.decisions.WithLabelValues(hook, string(admission.EndedInAllow), "", kind)
			a.decisions.WithLabelValues(hook, dryRun, "", kind)
			for _, code := range codes {
				a.decisions.WithLabelValues(hook, string(admission.EndedInDeny), code, kind)
				a.decisions.WithLabelValues(hook, dryRun, code, kind)
			}
		}
		a.expectFailures(hook, admission.CodeUIDConflict, admission.CodeAbandoned, admission.CodeNotReady, admission.CodeFactsUnavailable,
			admission.CodePolicyError, admission.CodeRecordFailed,
			admission.CodeLedgerUnavailable, admission.CodeInternal, admission.CodeDeadlineExceeded)
	}
	a.expectFailures(other, admission.CodeUnknownHook, admission.CodeNotReady)
}

func (a *Admission) expectFailures(hook string, codes ...admission.Code) {
	for _, ending := range []admission.Ending{admission.EndedInFault, admission.EndedRefused, admission.EndedAlone} {
		for _, kind := range []string{"platform", otherKind} {
			a.decisions.WithLabelValues(hook, string(ending), other, kind)
		}
	}
	for _, code := range codes {
		a.errors.WithLabelValues(hook, string(code))
	}
}

// Reviewed implements admission.Observer.
func (a *Admission) Reviewed(_ context.Context, o admission.Outcome) {
	hook := other
	if a.policies.HasHook(o.Review.Hook) {
		hook = o.Review.Hook
	}
	a.duration.WithLabelValues(hook).Observe(o.Total.Seconds())
	for stage, took := range o.Stages {
		a.stages.WithLabelValues(string(stage)).Observe(took.Seconds())
	}
	if o.Unmasked != nil {
		a.Unmasked()
	}
	if o.Err != nil {
		a.failed(hook, o)
		return
	}
	a.decided(hook, o)
}

const (
	// dryRun is a decision that had no effect, whatever its verdict.
	dryRun = "dry_run"

	errorRecorded = "error_recorded"
	errorLost     = "error_lost"
)

// Unmasked counts a record whose input was erased.
func (a *Admission) Unmasked() { a.unmasked.Inc() }

// FailureKept counts the record of a review that failed, which was written or not.
func (a *Admission) FailureKept(written bool) {
	if written {
		a.records.WithLabelValues(errorRecorded).Inc()
		return
	}
	a.records.WithLabelValues(errorLost).Inc()
}

// failed counts a review without a decision. What is stored of the workspace may be unknown, so only a claim
// tells its kind.
func (a *Admission) failed(hook string, o admission.Outcome) {
	kind := otherKind
	if o.Review.Kind == "platform" {
		kind = o.Review.Kind
	}
	a.decisions.WithLabelValues(hook, string(o.Ending()), other, kind).Inc()
	a.errors.WithLabelValues(hook, string(o.Err.Code)).Inc()
	if recordFailed(o) {
		a.records.WithLabelValues("failed").Inc()
	}
}

// recordFailed says whether the ledger is to blame. To have entered its stage is not enough: a review with a uid
// looks there first, and may then fail for want of facts or be a conflict.
func recordFailed(o admission.Outcome) bool {
	_, entered := o.Stages[admission.StageLedger]
	switch o.Err.Code {
	case admission.CodeRecordFailed, admission.CodeLedgerUnavailable:
		return true
	default:
		return entered && o.Err.Code == admission.CodeDeadlineExceeded
	}
}

func (a *Admission) decided(hook string, o admission.Outcome) {
	decision, code := string(o.Ending()), ""
	if denying := o.Decision.Verdict.Denying(); denying != nil {
		code = other
		if a.policies.HasCode(denying.Code) {
			code = denying.Code
		}
	}
	if o.Review.DryRun || o.Decision.DryRun {
		decision = dryRun
	}
	switch {
	case o.Review.DryRun: // nothing is recorded
	case o.Repeated:
		a.records.WithLabelValues("repeated").Inc()
	default:
		a.records.WithLabelValues("recorded").Inc()
	}
	a.decisions.WithLabelValues(hook, decision, code, o.Decision.Kind).Inc()
}
