package author_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/programtest"
	policytests "github.com/molecule-ai/gatehouse/policies_test"
)

func TestUsageErrorsExitWithTwo(t *testing.T) {
	for _, args := range [][]string{
		{}, {"bogus"}, {"serve", "--bogus"}, {"serve", "extra"}, {"serve", "--max-depth", "many"}, {"serve", "--facts-timeout", "1"},
		{"serve", "--log-level", "loud"}, {"serve", "--tokens-file", "/nowhere/tokens.yaml"}, {"serve", "--facts-query-file", "/nowhere/facts.sql"},
		{"serve", "--demo=perhaps"}, {"eval", "--output", "xml"}, {"test", "--threshold", "high"}, {"version", "--config", "/nowhere/config.yaml"},
	} {
		got := programtest.Command(t, "", args...)
		require.Equal(t, cli.ExitUsage, got.Code, args)
		require.Contains(t, got.Err, "gatehouse: ", args)
		require.Empty(t, got.Out, args)
	}
}

func TestHelpAndVersion(t *testing.T) {
	got := programtest.Command(t, "", "--help")
	require.Zero(t, got.Code)
	for _, name := range []string{"serve", "check", "test", "eval", "migrate", "version"} {
		require.Contains(t, got.Out, name)
	}
	got = programtest.Command(t, "", "serve", "--help")
	require.Zero(t, got.Code)
	require.Contains(t, got.Out, "GATEHOUSE_DATABASE_URL")

	got = programtest.Command(t, "", "version")
	require.Zero(t, got.Code)
	require.Regexp(t, `^gatehouse \S+, go1\.\d+`, got.Out)
}

func TestCheckAcceptsGoodPolicies(t *testing.T) {
	embedded := programtest.Command(t, "", "check")
	require.Zero(t, embedded.Code, embedded.Err)
	require.Regexp(t, `^embedded: \d+ rules for heartbeat, register, revision sha256:[0-9a-f]{16}\n$`, embedded.Out)

	folder := cmdtest.PolicyFolder(t)
	copied := programtest.Command(t, "", "check", "--policies", folder)
	require.Zero(t, copied.Code, copied.Err)
	require.Equal(t, strings.Replace(embedded.Out, "embedded", folder, 1), copied.Out, "equal policies have equal revisions")
}

func TestCheckRefusesBadPoliciesAndSaysWhere(t *testing.T) {
	for name, test := range map[string]struct{ rego, want string }{
		"syntax":            {"package admission.lib\n\nbroken contains if {", "broken.rego:3:17: rego_parse_error"},
		"unknown reference": {"package admission.lib\n\nbroken if input.reqest.kind == 1", "broken.rego:3:11: rego_type_error"},
		"unknown function":  {"package admission.lib\n\nbroken if nowhere(1)", "broken.rego:3:11: rego_type_error"},
		"forbidden builtin": {"package admission.lib\n\nbroken if http.send({}).status_code == 1", "broken.rego:3:11: rego_type_error: undefined function http.send"},
	} {
		t.Run(name, func(t *testing.T) {
			got := programtest.Command(t, "", "check", "--policies", cmdtest.PolicyFolder(t, "broken.rego", test.rego))
			require.Equal(t, cli.ExitFailed, got.Code)
			require.Contains(t, got.Err, test.want)
			require.Empty(t, got.Out)
		})
	}
	got := programtest.Command(t, "", "check", "--policies", cmdtest.PolicyFolder(t, "broken.rego", "package admission.lib\n\nbroken if a(1)\n\nbroken if b(1)\n"))
	require.Equal(t, 2, strings.Count(got.Err, "broken.rego:"), "every error is printed: %s", got.Err)

	got = programtest.Command(t, "", "check", "--policies", t.TempDir())
	require.Equal(t, cli.ExitFailed, got.Code)
	require.Contains(t, got.Err, "no Rego files")
	got = programtest.Command(t, "", "check", "--policies", "/nowhere")
	require.Equal(t, cli.ExitFailed, got.Code)
	require.Contains(t, got.Err, "/nowhere")
}

func TestTestPassesOnTheEmbeddedPolicies(t *testing.T) {
	got := programtest.Command(t, "", "test", "--threshold", "100")
	require.Zero(t, got.Code, got.Out+got.Err)
	require.Regexp(t, `^\d+ Rego tests, \d+ cases, 0 failed; 100\.0 % of lines covered\n$`, got.Out)

	folder := cmdtest.PolicyFolder(t)
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
	together := programtest.Command(t, "", "test", "--policies", folder)
	require.Zero(t, together.Code, together.Out+together.Err)
	require.Equal(t, got.Out, together.Out)
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
	got := programtest.Command(t, "", "test", "--tests", tests, "--threshold", "0")
	require.Equal(t, cli.ExitFailed, got.Code)
	require.Contains(t, got.Out, "FAIL data.admission.failing_test.test_that_fails")
	require.Contains(t, got.Out, "FAIL failing.yaml: an ordinary workspace is refused\n       allowed: expected false, got true\n")
	require.Contains(t, got.Out, "2 Rego tests, 1 cases, 2 failed; ")
	require.NotContains(t, got.Out, "test_that_holds")
}

func TestTestFailsBelowItsThreshold(t *testing.T) {
	tests := filepath.Dir(cmdtest.File(t, "one_test.rego", "package admission.one_test\n\ntest_that_holds if true\n"))
	got := programtest.Command(t, "", "test", "--tests", tests)
	require.Equal(t, cli.ExitFailed, got.Code)
	require.Contains(t, got.Err, "is below the threshold of 95 %")
	require.Regexp(t, `not covered: lib/\w+\.rego:\d+\n`, got.Out)
	require.Zero(t, programtest.Command(t, "", "test", "--tests", tests, "--threshold", "0").Code)

	got = programtest.Command(t, "", "test", "--tests", t.TempDir(), "--threshold", "0")
	require.Equal(t, cli.ExitFailed, got.Code)
	require.Contains(t, got.Err, "no tests")
}

func TestTestRefusesACaseFileThatItCannotRead(t *testing.T) {
	for _, text := range []string{
		"cases: [", "title: no cases\n", strings.Replace(failingCase, "allowed", "alowed", 1), strings.Replace(failingCase, "review", "reviews", 1),
	} {
		got := programtest.Command(t, "", "test", "--tests", filepath.Dir(cmdtest.File(t, "bad.yaml", text)), "--threshold", "0")
		require.Equal(t, cli.ExitFailed, got.Code)
		require.Contains(t, got.Err, "bad.yaml")
	}
}

func TestEvalExplainsItsAnswer(t *testing.T) {
	facts := cmdtest.File(t, "facts.json", cmdtest.PlatformFacts)
	got := programtest.Command(t, "", "eval", cmdtest.File(t, "review.json", cmdtest.EvalReview), "--facts", facts)
	require.Zero(t, got.Code, got.Err)
	require.Regexp(t, `^denied: 400 PLATFORM_AGENT_IDENTITY_GATE: platform agent identity incomplete
  deny  critical PLATFORM_AGENT_IDENTITY_GATE: model_missing
        The platform agent has no MODEL secret of its own\.
        rule platform_requires_model, lib/platform_requires_model\.rego:\d+
the stored workspace would be marked failed
policies: embedded, sha256:[0-9a-f]{16}
$`, got.Out)

	withModel := cmdtest.File(t, "facts.json", strings.Replace(cmdtest.PlatformFacts, "[]", `["MODEL"]`, 1))
	got = programtest.Command(t, cmdtest.EvalReview, "eval", "-", "--facts", withModel)
	require.Zero(t, got.Code, got.Err)
	require.Regexp(t, `^allowed\npolicies: embedded, sha256:[0-9a-f]{16}\n$`, got.Out)
}

func TestEvalAnswersInJSON(t *testing.T) {
	facts := cmdtest.File(t, "facts.json", cmdtest.PlatformFacts)
	for _, args := range [][]string{{"eval", "--facts", facts, "--output", "json"}, {"eval", "--hook", "heartbeat", "--facts", facts, "--output", "json"}} {
		review := cmdtest.EvalReview
		if args[1] == "--hook" {
			review = strings.Replace(cmdtest.EvalReview, `"url"`, `"from_status": "provisioning", "to_status": "online", "url"`, 1)
		}
		got := programtest.Command(t, review, args...)
		require.Zero(t, got.Code, got.Err)
		var answer struct {
			Allowed        bool   `json:"allowed"`
			MarksFailed    bool   `json:"marks_failed"`
			PolicyRevision string `json:"policy_revision"`
			Violations     []map[string]any
		}
		require.NoError(t, json.Unmarshal([]byte(got.Out), &answer))
		require.False(t, answer.Allowed)
		require.True(t, answer.MarksFailed)
		require.NotEmpty(t, answer.PolicyRevision)
		require.Len(t, answer.Violations, 1)
		require.Equal(t, "model_missing", answer.Violations[0]["reason"])
	}
	got := programtest.Command(t, cmdtest.EvalReview, "eval", "--output", "json")
	require.Zero(t, got.Code, got.Err)
	require.Contains(t, got.Out, `"allowed": true`)
	require.Contains(t, got.Out, `"violations": []`)
}

func TestEvalKnowsTheDeployment(t *testing.T) {
	private := strings.Replace(cmdtest.EvalReview, "agent.example.com", "10.0.0.8", 1)
	require.Contains(t, programtest.Command(t, private, "eval").Out, "URL_UNSAFE")
	require.Contains(t, programtest.Command(t, private, "eval", "--saas").Out, "allowed\n")
}

func TestEvalRefusesFilesItCannotRead(t *testing.T) {
	for name, test := range map[string]struct {
		review string
		args   []string
		want   string
	}{
		"not JSON":       {"{", nil, "review: malformed_request: invalid JSON"},
		"no workspace":   {"{}", nil, "review: malformed_request: workspace is required"},
		"unknown member": {`{"workspaces": {}}`, nil, "review: malformed_request: unknown member"},
		"no review":      {"", []string{"/nowhere/review.json"}, "review: open /nowhere/review.json"},
		"no facts":       {cmdtest.EvalReview, []string{"--facts", "/nowhere/facts.json"}, "facts: open /nowhere/facts.json"},
		"bad facts":      {cmdtest.EvalReview, []string{"--facts", cmdtest.File(t, "f.json", `{"exist": true}`)}, "facts: malformed_request: unknown member"},
		"no kind":        {cmdtest.EvalReview, []string{"--facts", cmdtest.File(t, "f.json", `{"exists": true, "workspace": {}}`)}, "facts: facts: the stored workspace has no kind"},
		"unknown hook":   {cmdtest.EvalReview, []string{"--hook", "retire"}, "no policy defines the hook retire"},
		"bad policies":   {cmdtest.EvalReview, []string{"--policies", cmdtest.PolicyFolder(t, "broken.rego", "package a\n\nb if c(1)")}, "broken.rego:3:"},
	} {
		t.Run(name, func(t *testing.T) {
			got := programtest.Command(t, test.review, append([]string{"eval"}, test.args...)...)
			require.Equal(t, cli.ExitFailed, got.Code)
			require.Contains(t, got.Err, test.want)
			require.Empty(t, got.Out)
		})
	}
}

func TestMigrateTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "below", "gatehouse.db")
	for range 2 {
		got := programtest.Command(t, "", "migrate", "--database-url", "sqlite:"+path)
		require.Zero(t, got.Code, got.Err)
		require.Equal(t, "the tables are up to date\n", got.Out)
	}
	require.FileExists(t, path)
	for _, url := range []string{"mysql://root@localhost/x", "gatehouse.db", "sqlite:"} {
		got := programtest.Command(t, "", "migrate", "--database-url", url)
		require.Equal(t, cli.ExitFailed, got.Code, url)
		require.Contains(t, got.Err, "gatehouse: ")
	}
}
