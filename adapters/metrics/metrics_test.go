package metrics_test

import (
	"bytes"
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/metrics"
	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/audit"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// policies are live policies with one hook and one code.
type policies struct{ state metrics.PolicyState }

func (policies) HasHook(hook string) bool           { return hook == "register" }
func (policies) HasCode(code string) bool           { return code == "GATE" }
func (policies) Hooks() []string                    { return []string{"register"} }
func (policies) Codes() []string                    { return []string{"GATE"} }
func (p policies) PolicyState() metrics.PolicyState { return p.state }

// reloaded are live policies that change.
type reloaded struct {
	policies
	hooks, codes []string
}

func (r *reloaded) HasHook(hook string) bool { return slices.Contains(r.hooks, hook) }
func (r *reloaded) HasCode(code string) bool { return slices.Contains(r.codes, code) }
func (r *reloaded) Hooks() []string          { return r.hooks }
func (r *reloaded) Codes() []string          { return r.codes }

// outcome is a recorded allow for the hook register, changed as a test needs it.
func outcome(change func(*admission.Outcome)) admission.Outcome {
	o := admission.Outcome{
		Review:   admission.Review{Hook: "register", UID: "uid-1", Caller: "eu", WorkspaceID: uuid.Must(uuid.NewV7())},
		Decision: admission.Decision{ID: uuid.Must(uuid.NewV7()), Kind: "workspace"},
		Total:    3 * time.Millisecond,
		Stages: map[admission.Stage]time.Duration{
			admission.StageFacts: time.Millisecond, admission.StagePolicy: time.Millisecond, admission.StageLedger: time.Millisecond,
		},
	}
	if change != nil {
		change(&o)
	}
	return o
}

func denied(code string) func(*admission.Outcome) {
	return func(o *admission.Outcome) {
		o.Decision.Kind = "platform"
		o.Decision.Verdict = admission.NewVerdict([]admission.Violation{
			{Code: code, Severity: admission.Critical, Enforcement: admission.Deny},
		}, "r")
	}
}

func failed(code admission.Code, stages ...admission.Stage) func(*admission.Outcome) {
	return func(o *admission.Outcome) {
		o.Err = &admission.Error{Code: code}
		o.Decision = admission.Decision{}
		o.Stages = make(map[admission.Stage]time.Duration)
		for _, stage := range stages {
			o.Stages[stage] = time.Millisecond
		}
	}
}

func also(changes ...func(*admission.Outcome)) func(*admission.Outcome) {
	return func(o *admission.Outcome) {
		for _, change := range changes {
			change(o)
		}
	}
}

func hook(name string) func(*admission.Outcome) {
	return func(o *admission.Outcome) { o.Review.Hook = name }
}

func dryRun(o *admission.Outcome) {
	o.Review.DryRun = true
	delete(o.Stages, admission.StageLedger)
}

func repeated(o *admission.Outcome) { o.Repeated = true }

func TestReviewsAreCountedByWhatCameOfThem(t *testing.T) {
	const facts, policy, ledger = admission.StageFacts, admission.StagePolicy, admission.StageLedger
	registry := prometheus.NewRegistry()
	observer := metrics.NewAdmission(registry, policies{})
	for _, change := range []func(*admission.Outcome){
		nil, func(o *admission.Outcome) { o.Unmasked = errors.New("undefined") },
		denied("GATE"), denied("GATE"), denied("GATE"),
		denied("SOMETHING_ELSE"),
		also(denied("GATE"), dryRun), dryRun,
		also(denied("GATE"), repeated),
		also(hook("01890a5d-ac96-774b-bcce-b302099a8057"), failed(admission.CodeUnknownHook)),
		failed(admission.CodeFactsUnavailable, facts),
		also(failed(admission.CodeFactsUnavailable, ledger, facts), func(o *admission.Outcome) { o.Review.Kind = "platform" }),
		also(failed(admission.CodePolicyError, facts, policy), func(o *admission.Outcome) { o.Review.Kind = "some kind" }),
		failed(admission.CodeUIDConflict, ledger),
		failed(admission.CodeAbandoned, facts),
		failed(admission.CodeRecordFailed, facts, policy, ledger),
		failed(admission.CodeDeadlineExceeded, facts, policy, ledger),
		failed(admission.CodeDeadlineExceeded, facts),
	} {
		observer.Reviewed(context.Background(), outcome(change))
	}
	observer.FailureKept(true)
	observer.FailureKept(false)

	requireCounted(t, registry, "gatehouse_admission_decisions_total", `
		{code="",decision="allow",hook="register",kind="workspace"} 2
		{code="GATE",decision="deny",hook="register",kind="platform"} 4
		{code="other",decision="deny",hook="register",kind="platform"} 1
		{code="GATE",decision="dry_run",hook="register",kind="platform"} 1
		{code="",decision="dry_run",hook="register",kind="workspace"} 1
		{code="other",decision="refused",hook="other",kind="other"} 1
		{code="other",decision="refused",hook="register",kind="other"} 1
		{code="other",decision="abandoned",hook="register",kind="other"} 1
		{code="other",decision="error",hook="register",kind="other"} 5
		{code="other",decision="error",hook="register",kind="platform"} 1`)
	requireCounted(t, registry, "gatehouse_admission_errors_total", `
		{code="unknown_hook",hook="other"} 1
		{code="facts_unavailable",hook="register"} 2
		{code="policy_error",hook="register"} 1
		{code="uid_conflict",hook="register"} 1
		{code="abandoned",hook="register"} 1
		{code="record_failed",hook="register"} 1
		{code="deadline_exceeded",hook="register"} 2`)
	requireSeries(t, registry, "gatehouse_decision_records_total", `
		{result="recorded"} 6
		{result="repeated"} 1
		{result="failed"} 2
		{result="error_recorded"} 1
		{result="error_lost"} 1`)
	require.Contains(t, series(t, registry), "gatehouse_decision_mask_failures_total 1")
	requireNoIDs(t, registry)
}

func TestCountersThatAlertsLookAtAreThereFromTheStart(t *testing.T) {
	registry := prometheus.NewRegistry()
	metrics.NewAdmission(registry, policies{})
	metrics.NewAnnouncements(registry, []string{"registry"})
	requireSeries(t, registry, "gatehouse_decision_records_total", `
		{result="recorded"} 0
		{result="repeated"} 0
		{result="failed"} 0
		{result="error_recorded"} 0
		{result="error_lost"} 0`)
	requireSeries(t, registry, "gatehouse_announcements_total", `
		{result="delivered",sink="registry"} 0
		{result="retried",sink="registry"} 0
		{result="dead",sink="registry"} 0`)
}

// rate() sees no increase in a series that begins at 1, so everything that can happen is there before it does: from the
// start, and for hooks and codes that a reload brings. What there was stays.
func TestEveryDecisionAndErrorIsThereBeforeItHappens(t *testing.T) {
	live := &reloaded{hooks: []string{"register"}, codes: []string{"GATE"}}
	registry := prometheus.NewRegistry()
	observer := metrics.NewAdmission(registry, live)
	decisions := func(hook, code string) []string {
		var found []string
		for _, line := range series(t, registry) {
			if strings.HasPrefix(line, "gatehouse_admission_decisions_total{") && strings.Contains(line, `hook="`+hook+`"`) && strings.Contains(line, `code="`+code+`"`) {
				require.True(t, strings.HasSuffix(line, " 0"), line)
				_, after, _ := strings.Cut(line, `decision="`)
				decision, _, _ := strings.Cut(after, `"`)
				found = append(found, decision)
			}
		}
		slices.Sort(found)
		return slices.Compact(found)
	}
	require.Equal(t, []string{"allow", "dry_run"}, decisions("register", ""))
	require.Equal(t, []string{"deny", "dry_run"}, decisions("register", "GATE"))
	require.Equal(t, []string{"abandoned", "error", "refused"}, decisions("register", "other"))
	require.Equal(t, []string{"abandoned", "error", "refused"}, decisions("other", "other"))
	requireSeries(t, registry, "gatehouse_admission_errors_total", `
		{code="unknown_hook",hook="other"} 0
		{code="not_ready",hook="other"} 0
		{code="not_ready",hook="register"} 0
		{code="uid_conflict",hook="register"} 0
		{code="abandoned",hook="register"} 0
		{code="facts_unavailable",hook="register"} 0
		{code="policy_error",hook="register"} 0
		{code="record_failed",hook="register"} 0
		{code="ledger_unavailable",hook="register"} 0
		{code="internal_error",hook="register"} 0
		{code="deadline_exceeded",hook="register"} 0`)
	require.Contains(t, series(t, registry), `gatehouse_admission_duration_seconds_count{hook="register"} 0`)

	live.hooks, live.codes = []string{"heartbeat"}, []string{"GATE", "TIER"}
	require.Equal(t, []string{"allow", "dry_run"}, decisions("heartbeat", ""))
	require.Equal(t, []string{"deny", "dry_run"}, decisions("heartbeat", "TIER"))
	require.Equal(t, []string{"deny", "dry_run"}, decisions("register", "GATE"), "a counter does not go away")
	require.Empty(t, decisions("register", "TIER"))

	before := len(series(t, registry))
	observer.Reviewed(t.Context(), outcome(hook("heartbeat")))
	require.Len(t, series(t, registry), before, "an allow makes no new series")
}

func TestEveryAnswerOfARouteIsThereBeforeItHappens(t *testing.T) {
	registry := prometheus.NewRegistry()
	requests := metrics.NewHTTP(registry)
	requests.Expect("/readyz", "GET", []int{200, 503})
	requireSeries(t, registry, "gatehouse_http_requests_total", `
		{method="GET",route="/readyz",status="200"} 0
		{method="GET",route="/readyz",status="503"} 0`)
	require.Contains(t, series(t, registry), `gatehouse_http_request_duration_seconds_count{route="/readyz"} 0`)
}

func TestDurationsAreObservedInSeconds(t *testing.T) {
	registry := prometheus.NewRegistry()
	observer := metrics.NewAdmission(registry, policies{})
	observer.Reviewed(context.Background(), outcome(nil))
	observer.Reviewed(context.Background(), outcome(dryRun))
	text := scrape(t, registry)
	require.Contains(t, text, `gatehouse_admission_duration_seconds_count{hook="register"} 2`)
	require.Contains(t, text, `gatehouse_admission_duration_seconds_sum{hook="register"} 0.006`)
	require.Contains(t, text, `gatehouse_admission_duration_seconds_bucket{hook="register",le="0.002"} 0`)
	require.Contains(t, text, `gatehouse_admission_duration_seconds_bucket{hook="register",le="0.004"} 2`)
	require.Contains(t, text, `gatehouse_admission_stage_duration_seconds_count{stage="facts"} 2`)
	require.Contains(t, text, `gatehouse_admission_stage_duration_seconds_count{stage="ledger"} 1`)
}

func TestRequestsAndAnnouncementsAreCounted(t *testing.T) {
	registry := prometheus.NewRegistry()
	requests := metrics.NewHTTP(registry)
	requests.Served("/v1/admission/{hook}", "POST", 200, time.Millisecond)
	requests.Served("/v1/admission/{hook}", "POST", 200, time.Millisecond)
	requests.Served("none", "other", 404, time.Millisecond)
	announcements := metrics.NewAnnouncements(registry, nil)
	announcements.Delivered("registry", "retried")
	requireSeries(t, registry, "gatehouse_http_requests_total", `
		{method="POST",route="/v1/admission/{hook}",status="200"} 2
		{method="other",route="none",status="404"} 1`)
	requireSeries(t, registry, "gatehouse_announcements_total", `{result="retried",sink="registry"} 1`)
	require.Contains(t, scrape(t, registry), `gatehouse_http_request_duration_seconds_count{route="none"} 1`)
}

func TestUnreadableOutboxShowsNoOldNumbers(t *testing.T) {
	err := errors.New("away")
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.NewOutboxCollector(func(ctx context.Context) ([]metrics.SinkStats, error) {
		_, bounded := ctx.Deadline()
		assert.True(t, bounded)
		return []metrics.SinkStats{{Sink: "ops", Pending: 7, OldestSeconds: 1.5, Dead: 2, Disabled: true}, {Sink: "bus"}}, err
	}))
	require.Equal(t, []string{"gatehouse_outbox_up 0"}, series(t, registry))
	err = nil
	require.Equal(t, []string{
		`gatehouse_outbox_dead{sink="bus"} 0`, `gatehouse_outbox_dead{sink="ops"} 2`,
		`gatehouse_outbox_oldest_seconds{sink="bus"} 0`, `gatehouse_outbox_oldest_seconds{sink="ops"} 1.5`,
		`gatehouse_outbox_pending{sink="bus"} 0`, `gatehouse_outbox_pending{sink="ops"} 7`,
		`gatehouse_outbox_sink_disabled{sink="bus"} 0`, `gatehouse_outbox_sink_disabled{sink="ops"} 1`,
		"gatehouse_outbox_up 1",
	}, series(t, registry))
}

func TestPoliciesThatAreNotLiveShowOnlyTheirFailures(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.NewPolicyCollector(policies{metrics.PolicyState{Failures: 2}}))
	require.Equal(t, []string{"gatehouse_policy_refused 0", "gatehouse_policy_reload_failures_total 2"}, series(t, registry))

	registry = prometheus.NewRegistry()
	registry.MustRegister(metrics.NewPolicyCollector(policies{livePolicies}))
	require.Equal(t, []string{
		"gatehouse_policy_confirmed_timestamp_seconds 1.77504486e+09",
		"gatehouse_policy_fast_path 1",
		`gatehouse_policy_info{revision="sha256:0011",source="embedded"} 1`,
		"gatehouse_policy_last_success_timestamp_seconds 1.7750448e+09",
		"gatehouse_policy_refused 1",
		"gatehouse_policy_reload_failures_total 1",
		"gatehouse_policy_stale 1",
		`gatehouse_policy_weaker{code="URL_UNSAFE"} 2`,
	}, series(t, registry))
}

var livePolicies = metrics.PolicyState{
	Revision: "sha256:0011", Source: "embedded", Failures: 1, Since: time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC),
	Confirmed: time.Date(2026, 4, 1, 12, 1, 0, 0, time.UTC), Stale: true, Refused: true, FastPath: true, Weaker: map[string]int{"URL_UNSAFE": 2},
}

func TestPromtoolAcceptsEverything(t *testing.T) {
	promtool, err := testenv.Promtool(t.Context())
	require.NoError(t, err)
	pool, err := pgxpool.New(t.Context(), testenv.DatabaseURL(t, testenv.Empty))
	require.NoError(t, err)
	defer pool.Close()
	require.NoError(t, pool.Ping(t.Context()))

	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		metrics.NewBuildInfo("v1"), metrics.NewPolicyCollector(policies{livePolicies}), metrics.NewPoolCollector(pool),
		metrics.NewOutboxCollector(func(context.Context) ([]metrics.SinkStats, error) {
			return []metrics.SinkStats{{Sink: "ops"}}, nil
		}),
	)
	observer := metrics.NewAdmission(registry, policies{})
	observer.Reviewed(t.Context(), outcome(nil))
	observer.Reviewed(t.Context(), outcome(failed(admission.CodeRecordFailed, admission.StageLedger)))
	metrics.NewAnnouncements(registry, []string{"registry"})
	metrics.NewAudit(registry, policies{}, func(context.Context) (*audit.Run, error) {
		return &audit.Run{FinishedAt: new(time.Now()), Violations: map[string]int64{"GATE": 1}}, nil
	}).AuditRan("finished")
	metrics.NewHTTP(registry).Served("/healthz", "GET", 200, time.Millisecond)

	text := scrape(t, registry)
	check := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	check.Stdin = strings.NewReader(text)
	output, err := check.CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.Empty(t, string(output))

	require.Contains(t, text, "gatehouse_postgres_pool_connections 1\n")
	require.Contains(t, text, "gatehouse_postgres_pool_acquired_connections 0\n")
	require.Contains(t, text, "gatehouse_postgres_pool_acquires_total 1\n")
	require.Contains(t, text, `gatehouse_build_info{goversion="go`)
}

// requireSeries compares all series of one metric, given as lines of labels and value.
func requireSeries(t *testing.T, registry *prometheus.Registry, name, want string) {
	t.Helper()
	var expected []string
	for line := range strings.Lines(want) {
		if line = strings.TrimSpace(line); line != "" {
			expected = append(expected, name+line)
		}
	}
	var got []string
	for _, line := range series(t, registry) {
		if strings.HasPrefix(line, name+"{") {
			got = append(got, line)
		}
	}
	require.ElementsMatch(t, expected, got)
}

// requireCounted is requireSeries without those that are still at 0.
func requireCounted(t *testing.T, registry *prometheus.Registry, name, want string) {
	t.Helper()
	var expected, got []string
	for line := range strings.Lines(want) {
		if line = strings.TrimSpace(line); line != "" {
			expected = append(expected, name+line)
		}
	}
	for _, line := range series(t, registry) {
		if strings.HasPrefix(line, name+"{") && !strings.HasSuffix(line, " 0") {
			got = append(got, line)
		}
	}
	require.ElementsMatch(t, expected, got)
}

// series are the lines of a scrape without comments.
func series(t *testing.T, registry *prometheus.Registry) []string {
	t.Helper()
	var found []string
	for line := range strings.Lines(scrape(t, registry)) {
		if !strings.HasPrefix(line, "#") {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

func scrape(t *testing.T, registry *prometheus.Registry) string {
	t.Helper()
	recorder := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(recorder, httptest.NewRequest("GET", "/metrics", nil))
	require.Equal(t, 200, recorder.Code)
	return recorder.Body.String()
}

// requireNoIDs fails if a label holds anything that tells one workspace, request or caller from another.
func requireNoIDs(t *testing.T, registry *prometheus.Registry) {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	var values bytes.Buffer
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				values.WriteString(label.GetValue() + "\n")
			}
		}
	}
	require.NotRegexp(t, `[0-9a-fA-F]{8}-|uid-|\beu\b|some kind|SOMETHING_ELSE`, values.String())
}
