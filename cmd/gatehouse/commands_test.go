package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/policies"
	policytests "github.com/molecule-ai/gatehouse/policies_test"
)

// said is what a command came to, run in this process.
type said struct {
	code     int
	out, err string
}

func command(t *testing.T, stdin string, args ...string) said {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out, err bytes.Buffer
	code := run(ctx, args, streams{strings.NewReader(stdin), &out, &err})
	return said{code, out.String(), err.String()}
}

// file writes a file for this test alone.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// policyFolder is a folder with the embedded policies and what else is given, by name and text in turn.
func policyFolder(t *testing.T, files ...string) string {
	t.Helper()
	folder := t.TempDir()
	require.NoError(t, os.CopyFS(folder, policies.FS))
	for i := 0; i < len(files); i += 2 {
		require.NoError(t, os.WriteFile(filepath.Join(folder, files[i]), []byte(files[i+1]), 0o600))
	}
	return folder
}

func TestUsageErrorsExitWithTwo(t *testing.T) {
	for _, args := range [][]string{
		{}, {"bogus"}, {"serve", "--bogus"}, {"serve", "extra"}, {"serve", "--max-depth", "many"}, {"serve", "--facts-timeout", "1"},
		{"serve", "--log-level", "loud"}, {"serve", "--tokens-file", "/nowhere/tokens.yaml"}, {"serve", "--facts-query-file", "/nowhere/facts.sql"},
		{"serve", "--demo=perhaps"}, {"eval", "--output", "xml"}, {"test", "--threshold", "high"}, {"version", "--config", "/nowhere/config.yaml"},
	} {
		got := command(t, "", args...)
		require.Equal(t, exitUsage, got.code, args)
		require.Contains(t, got.err, "gatehouse: ", args)
		require.Empty(t, got.out, args)
	}
}

func TestHelpAndVersion(t *testing.T) {
	got := command(t, "", "--help")
	require.Zero(t, got.code)
	for _, name := range []string{"serve", "check", "test", "eval", "migrate", "version"} {
		require.Contains(t, got.out, name)
	}
	got = command(t, "", "serve", "--help")
	require.Zero(t, got.code)
	require.Contains(t, got.out, "GATEHOUSE_DATABASE_URL")

	got = command(t, "", "version")
	require.Zero(t, got.code)
	require.Regexp(t, `^gatehouse \S+, go1\.\d+`, got.out)
}

func TestCheckAcceptsGoodPolicies(t *testing.T) {
	embedded := command(t, "", "check")
	require.Zero(t, embedded.code, embedded.err)
	require.Regexp(t, `^embedded: \d+ rules for heartbeat, register, revision sha256:[0-9a-f]{16}\n$`, embedded.out)

	folder := policyFolder(t)
	copied := command(t, "", "check", "--policies", folder)
	require.Zero(t, copied.code, copied.err)
	require.Equal(t, strings.Replace(embedded.out, "embedded", folder, 1), copied.out, "equal policies have equal revisions")
}

func TestCheckRefusesBadPoliciesAndSaysWhere(t *testing.T) {
	for name, test := range map[string]struct{ rego, want string }{
		"syntax":            {"package admission.lib\n\nbroken contains if {", "broken.rego:3:17: rego_parse_error"},
		"unknown reference": {"package admission.lib\n\nbroken if input.reqest.kind == 1", "broken.rego:3:11: rego_type_error"},
		"unknown function":  {"package admission.lib\n\nbroken if nowhere(1)", "broken.rego:3:11: rego_type_error"},
		"forbidden builtin": {"package admission.lib\n\nbroken if http.send({}).status_code == 1", "broken.rego:3:11: rego_type_error: undefined function http.send"},
	} {
		t.Run(name, func(t *testing.T) {
			got := command(t, "", "check", "--policies", policyFolder(t, "broken.rego", test.rego))
			require.Equal(t, exitFailed, got.code)
			require.Contains(t, got.err, test.want)
			require.Empty(t, got.out)
		})
	}
	got := command(t, "", "check", "--policies", policyFolder(t, "broken.rego", "package admission.lib\n\nbroken if a(1)\n\nbroken if b(1)\n"))
	require.Equal(t, 2, strings.Count(got.err, "broken.rego:"), "every error is printed: %s", got.err)

	got = command(t, "", "check", "--policies", t.TempDir())
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.err, "no Rego files")
	got = command(t, "", "check", "--policies", "/nowhere")
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.err, "/nowhere")
}

func TestTestPassesOnTheEmbeddedPolicies(t *testing.T) {
	got := command(t, "", "test", "--threshold", "100")
	require.Zero(t, got.code, got.out+got.err)
	require.Regexp(t, `^\d+ Rego tests, \d+ cases, 0 failed; 100\.0 % of lines covered\n$`, got.out)

	folder := policyFolder(t)
	require.NoError(t, fs.WalkDir(policytests.FS, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(policytests.FS, name)
		require.NoError(t, err)
		path := filepath.Join(folder, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		return os.WriteFile(path, text, 0o600)
	}))
	together := command(t, "", "test", "--policies", folder)
	require.Zero(t, together.code, together.out+together.err)
	require.Equal(t, got.out, together.out)
}

const (
	failingTest = "package admission.failing_test\n\ntest_that_holds if true\n\ntest_that_fails if 1 == 2\n"
	failingCase = `title: A case that fails
cases:
  - name: an ordinary workspace is refused
    review: {workspace: {id: 01890a5d-ac96-774b-bcce-b302099a8057, url: "https://agent.example.com"}}
    expect: {allowed: false, status: 400}
`
)

func TestTestNamesWhatFails(t *testing.T) {
	tests := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(tests, "failing_test.rego"), []byte(failingTest), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(tests, "failing.yaml"), []byte(failingCase), 0o600))
	got := command(t, "", "test", "--tests", tests, "--threshold", "0")
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.out, "FAIL data.admission.failing_test.test_that_fails")
	require.Contains(t, got.out, "FAIL failing.yaml: an ordinary workspace is refused\n       allowed: expected false, got true\n")
	require.Contains(t, got.out, "2 Rego tests, 1 cases, 2 failed; ")
	require.NotContains(t, got.out, "test_that_holds")
}

func TestTestFailsBelowItsThreshold(t *testing.T) {
	tests := filepath.Dir(file(t, "one_test.rego", "package admission.one_test\n\ntest_that_holds if true\n"))
	got := command(t, "", "test", "--tests", tests)
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.err, "is below the threshold of 95 %")
	require.Regexp(t, `not covered: lib/\w+\.rego:\d+\n`, got.out)
	require.Zero(t, command(t, "", "test", "--tests", tests, "--threshold", "0").code)

	got = command(t, "", "test", "--tests", t.TempDir(), "--threshold", "0")
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.err, "no tests")
}

func TestTestRefusesACaseFileThatItCannotRead(t *testing.T) {
	for _, text := range []string{
		"cases: [", "title: no cases\n", strings.Replace(failingCase, "allowed", "alowed", 1), strings.Replace(failingCase, "review", "reviews", 1),
	} {
		got := command(t, "", "test", "--tests", filepath.Dir(file(t, "bad.yaml", text)), "--threshold", "0")
		require.Equal(t, exitFailed, got.code)
		require.Contains(t, got.err, "bad.yaml")
	}
}

const (
	evalReview    = `{"workspace": {"id": "01890a5d-ac96-774b-bcce-b302099a8057", "url": "https://agent.example.com"}}`
	platformFacts = `{"exists": true, "workspace": {"kind": "platform", "status": "provisioning", "name": "concierge", "tier": 1}, "secret_keys": []}`
)

func TestEvalExplainsItsAnswer(t *testing.T) {
	facts := file(t, "facts.json", platformFacts)
	got := command(t, "", "eval", file(t, "review.json", evalReview), "--facts", facts)
	require.Zero(t, got.code, got.err)
	require.Regexp(t, `^denied: 400 PLATFORM_AGENT_IDENTITY_GATE: platform agent identity incomplete
  deny  critical PLATFORM_AGENT_IDENTITY_GATE: model_missing
        The platform agent has no MODEL secret of its own\.
        rule platform_requires_model, lib/platform_requires_model\.rego:\d+
the stored workspace would be marked failed
policies: embedded, sha256:[0-9a-f]{16}
$`, got.out)

	withModel := file(t, "facts.json", strings.Replace(platformFacts, "[]", `["MODEL"]`, 1))
	got = command(t, evalReview, "eval", "-", "--facts", withModel)
	require.Zero(t, got.code, got.err)
	require.Regexp(t, `^allowed\npolicies: embedded, sha256:[0-9a-f]{16}\n$`, got.out)
}

func TestEvalAnswersInJSON(t *testing.T) {
	facts := file(t, "facts.json", platformFacts)
	for _, args := range [][]string{{"eval", "--facts", facts, "--output", "json"}, {"eval", "--hook", "heartbeat", "--facts", facts, "--output", "json"}} {
		review := evalReview
		if args[1] == "--hook" {
			review = strings.Replace(evalReview, `"url"`, `"from_status": "provisioning", "to_status": "online", "url"`, 1)
		}
		got := command(t, review, args...)
		require.Zero(t, got.code, got.err)
		var answer struct {
			Allowed        bool   `json:"allowed"`
			MarksFailed    bool   `json:"marks_failed"`
			PolicyRevision string `json:"policy_revision"`
			Violations     []map[string]any
		}
		require.NoError(t, json.Unmarshal([]byte(got.out), &answer))
		require.False(t, answer.Allowed)
		require.True(t, answer.MarksFailed)
		require.NotEmpty(t, answer.PolicyRevision)
		require.Len(t, answer.Violations, 1)
		require.Equal(t, "model_missing", answer.Violations[0]["reason"])
	}
	got := command(t, evalReview, "eval", "--output", "json")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, `"allowed": true`)
	require.Contains(t, got.out, `"violations": []`)
}

func TestEvalKnowsTheDeployment(t *testing.T) {
	private := strings.Replace(evalReview, "agent.example.com", "10.0.0.8", 1)
	require.Contains(t, command(t, private, "eval").out, "URL_UNSAFE")
	require.Contains(t, command(t, private, "eval", "--saas").out, "allowed\n")
}

func TestEvalRefusesWhatItCannotRead(t *testing.T) {
	for name, test := range map[string]struct {
		review string
		args   []string
		want   string
	}{
		"not JSON":       {"{", nil, "review: malformed_request: invalid JSON"},
		"no workspace":   {"{}", nil, "review: malformed_request: workspace is required"},
		"unknown member": {`{"workspaces": {}}`, nil, "review: malformed_request: unknown member"},
		"no review":      {"", []string{"/nowhere/review.json"}, "review: open /nowhere/review.json"},
		"no facts":       {evalReview, []string{"--facts", "/nowhere/facts.json"}, "facts: open /nowhere/facts.json"},
		"bad facts":      {evalReview, []string{"--facts", file(t, "f.json", `{"exist": true}`)}, "facts: malformed_request: unknown member"},
		"no kind":        {evalReview, []string{"--facts", file(t, "f.json", `{"exists": true, "workspace": {}}`)}, "facts: facts: the stored workspace has no kind"},
		"unknown hook":   {evalReview, []string{"--hook", "retire"}, "no policy defines the hook retire"},
		"bad policies":   {evalReview, []string{"--policies", policyFolder(t, "broken.rego", "package a\n\nb if c(1)")}, "broken.rego:3:"},
	} {
		t.Run(name, func(t *testing.T) {
			got := command(t, test.review, append([]string{"eval"}, test.args...)...)
			require.Equal(t, exitFailed, got.code)
			require.Contains(t, got.err, test.want)
			require.Empty(t, got.out)
		})
	}
}

func TestMigrateTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "below", "gatehouse.db")
	for range 2 {
		got := command(t, "", "migrate", "--database-url", "sqlite:"+path)
		require.Zero(t, got.code, got.err)
		require.Equal(t, "the tables are up to date\n", got.out)
	}
	require.FileExists(t, path)
	for _, url := range []string{"mysql://root@localhost/x", "gatehouse.db", "sqlite:"} {
		got := command(t, "", "migrate", "--database-url", url)
		require.Equal(t, exitFailed, got.code, url)
		require.Contains(t, got.err, "gatehouse: ")
	}
}
