package serve_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/programtest"
	"github.com/molecule-ai/gatehouse/internal/testenv"
)

// documentedExpressions are those of PromQL in docs, with what they compare and without it.
func documentedExpressions(t *testing.T) map[string]string {
	t.Helper()
	pages, err := filepath.Glob("../../../docs/*.md")
	require.NoError(t, err)
	comparison := regexp.MustCompile(`^(.*\S) (>|<|==) [\d *]+$`)
	found := make(map[string]string)
	for _, page := range pages {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, span := range regexp.MustCompile("`[^`\n]*gatehouse_[^`\n]*`").FindAllString(string(text), -1) {
			if parts := comparison.FindStringSubmatch(strings.Trim(span, "`")); parts != nil {
				found[parts[0]] = parts[1]
			}
		}
	}
	return found
}

// scrapes is what Prometheus knows after some scrapes of a server, one a minute. A series that a scrape does not have
// is not there at that minute.
type scrapes []string

func (s scrapes) series() []map[string]string {
	values := make(map[string][]string)
	for i, scraped := range s {
		for line := range strings.Lines(scraped) {
			at := strings.LastIndex(line, " ")
			if !strings.HasPrefix(line, "gatehouse_") || at < 0 {
				continue
			}
			name := line[:at]
			if values[name] == nil {
				values[name] = slices.Repeat([]string{"_"}, len(s))
			}
			value, err := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64)
			if err == nil {
				values[name][i] = strconv.FormatFloat(value, 'f', -1, 64)
			}
		}
	}
	var all []map[string]string
	for name, samples := range values {
		all = append(all, map[string]string{"series": name, "values": strings.Join(samples, " ")})
	}
	return all
}

// requireResults has Prometheus itself evaluate expressions at the last scrape: each has as many results as it says.
func (s scrapes) requireResults(t *testing.T, results map[string]int) {
	t.Helper()
	promtool, err := testenv.Promtool(t.Context())
	require.NoError(t, err)
	at := fmt.Sprintf("%dm", len(s)-1)
	var tests []map[string]any
	for expression, n := range results {
		count := []map[string]any{{"labels": "{}", "value": n}}
		tests = append(tests, map[string]any{"expr": "count(" + expression + ") or vector(0)", "eval_time": at, "exp_samples": count})
	}
	text, err := json.Marshal(map[string]any{ // which is YAML
		"rule_files": []string{}, "evaluation_interval": "1m",
		"tests": []any{map[string]any{"interval": "1m", "input_series": s.series(), "promql_expr_test": tests}},
	})
	require.NoError(t, err)
	output, err := exec.CommandContext(t.Context(), promtool, "test", "rules", cmdtest.File(t, "test.yaml", string(text))).CombinedOutput()
	require.NoError(t, err, "%s", output)
}

// Every alert that the docs name has something to compare on a server that has not done anything yet, and is silent.
func TestEveryDocumentedExpressionWorksOnAFreshServer(t *testing.T) {
	t.Parallel()
	expressions := documentedExpressions(t)
	require.Greater(t, len(expressions), 8)
	s := programtest.Serve(t, "--demo", "--database-url", "sqlite:"+filepath.Join(t.TempDir(), "gatehouse.db"),
		"--redis-url=redis://127.0.0.1:1/0", "--decision-log-url=http://127.0.0.1:1")
	s.WaitReady()
	fresh := scrapes{s.Scrape(), s.Scrape()}

	silent := make(map[string]int)
	var compared []string
	for expression, left := range expressions {
		silent[expression] = 0
		compared = append(compared, fmt.Sprintf("clamp_max(count(%s), 1)", left))
	}
	fresh.requireResults(t, silent)
	present := make(map[string]int)
	for _, expression := range compared {
		present[expression] = 1
	}
	fresh.requireResults(t, present)
}

const faultAlert = `rate(gatehouse_admission_decisions_total{decision="error"}[5m]) > 0`

// An operator is woken by the first fault, and by no caller's mistake.
func TestFaultAlertFiresOnTheFirstFaultAndOnNoCallersMistake(t *testing.T) {
	t.Parallel()
	require.Contains(t, documentedExpressions(t), faultAlert)
	const review = `{"uid": "r-1", "workspace": {"id": "00000000-0000-4000-8000-000000000001", "url": "https://agent.example.com"%s}}`
	s := programtest.Serve(t, "--demo", "--database-url", "sqlite:"+filepath.Join(t.TempDir(), "gatehouse.db"))
	s.WaitReady()
	seen := scrapes{s.Scrape(), s.Scrape()}
	for _, asked := range []struct {
		path, body string
		status     int
	}{
		{"/v1/admission/register", fmt.Sprintf(review, ""), 200},
		{"/v1/admission/register", fmt.Sprintf(review, `, "name": "other"`), 409},
		{"/v1/admission/register", fmt.Sprintf(review, `, "name": "another"`), 409},
		{"/v1/admission/retire", fmt.Sprintf(review, ""), 404},
		{"/v1/admission/register", "{", 400},
		{"/v1/nothing", "{}", 404},
	} {
		status, body := s.Send(http.MethodPost, asked.path, asked.body, "")
		require.Equal(t, asked.status, status, body)
	}
	seen = append(seen, s.Scrape())
	seen.requireResults(t, map[string]int{
		faultAlert: 0,
		`rate(gatehouse_admission_decisions_total{decision="refused",hook="register"}[5m]) > 0`: 1,
		`rate(gatehouse_admission_decisions_total{decision="allow"}[5m]) > 0`:                   1,
		`rate(gatehouse_http_requests_total{status="409"}[5m]) > 0`:                             1,
	})
	require.Zero(t, s.Stop())
	require.NotContains(t, s.Log.String(), `"level":"WARN","msg":"review"`)

	facts := cmdtest.File(t, "facts.sql", `select 1 as "exists", json('{') as workspace, '[]' as secret_keys, '[]' as global_secret_keys from (select $1)`)
	s = programtest.Serve(t, "--demo", "--facts-query-file", facts, "--database-url", "sqlite:"+filepath.Join(t.TempDir(), "gatehouse.db"))
	seen = scrapes{s.Scrape(), s.Scrape()}
	status, body := s.Send(http.MethodPost, "/v1/admission/register", fmt.Sprintf(review, ""), "")
	require.Equal(t, 500, status, body)
	seen = append(seen, s.Scrape())
	seen.requireResults(t, map[string]int{faultAlert: 1, `rate(gatehouse_admission_errors_total{code="facts_unavailable"}[5m]) > 0`: 1})
}
