package main

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/server/admission"
)

func TestCheckPointsAtEveryError(t *testing.T) {
	var broken strings.Builder
	broken.WriteString("package admission.lib\n\n")
	for range 12 {
		broken.WriteString("broken if {\n\tnowhere(1)\n}\n\n")
	}
	folder := policyFolder(t, "broken.rego", broken.String())
	got := command(t, "", "check", "--policies", folder)
	require.Equal(t, exitFailed, got.code)
	file := filepath.Join(folder, "broken.rego")
	require.Contains(t, got.err, file+":4:2: rego_type_error: undefined function nowhere\n\t\tnowhere(1)\n\t\t^\n")
	require.Equal(t, 12, strings.Count(got.err, "undefined function nowhere"), "beyond OPA's limit of ten")

	// Files that do not parse are all named, and data that does not, too.
	folder = policyFolder(t, "a.rego", "package a\n\nb if {", "b.rego", "package b\n\nc if }", "data.json", "{")
	got = command(t, "", "check", "--policies", folder)
	require.Equal(t, exitFailed, got.code)
	for _, part := range []string{"a.rego:3:6: rego_parse_error", "b.rego:3:6: rego_parse_error", "data.json"} {
		require.Contains(t, got.err, part)
	}
}

func TestCheckAnswersInJSON(t *testing.T) {
	var answer checkAnswer
	got := command(t, "", "check", "--output", "json")
	require.Zero(t, got.code, got.err)
	require.NoError(t, json.Unmarshal([]byte(got.out), &answer))
	require.Empty(t, answer.Problems)
	require.Positive(t, answer.Rules)
	require.Equal(t, []string{"heartbeat", "register"}, answer.Hooks)

	got = command(t, "", "check", "--output", "json", "--policies", policyFolder(t, "broken.rego", "package a\n\nb if c(1)\n"))
	require.Equal(t, exitFailed, got.code)
	require.Empty(t, got.err)
	require.NoError(t, json.Unmarshal([]byte(got.out), &answer))
	require.Len(t, answer.Problems, 1)
	require.Equal(t, 3, answer.Problems[0].Row)
	require.Equal(t, 6, answer.Problems[0].Column)
	require.Equal(t, "b if c(1)", answer.Problems[0].Line)
}

const missingCase = `title: A case whose rule does not fire
cases:
  - name: a tier that exists is refused
    review: {workspace: {id: 01890a5d-ac96-774b-bcce-b302099a8057, url: "https://agent.example.com", tier: 2}}
    expect: {violations: [{rule: tier_range, reason: tier_unknown}]}
  - name: the other passes
    review: {workspace: {id: 01890a5d-ac96-774b-bcce-b302099a8057, url: "https://agent.example.com"}}
    expect: {allowed: true}
`

func failingTests(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "failing_test.rego"), []byte(failingTest), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "missing.yaml"), []byte(missingCase), 0o600))
	return folder
}

func TestTestShowsWhereARuleStoppedThatShouldHaveFired(t *testing.T) {
	got := command(t, "", "test", "--tests", failingTests(t), "--threshold", "0")
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.out, `FAIL missing.yaml: a tier that exists is refused
       violations: - expected, + got
       - rule: tier_range, reason: tier_unknown
       tier_range did not fire:
         lib/tier_range.rego:11: `+"`some violation in tier_problems` found nothing")
	require.Contains(t, got.out, "lib/tier_range.rego:16: `not tier_exists(tier)` was false: tier is 2\n")
	require.Contains(t, got.out, "its way to what failed:\n")
	require.Contains(t, got.out, "failed at failing_test.rego:5:\n", "of the Rego test")
	require.NotContains(t, got.out, "the other passes")
}

func TestTestRunsAPart(t *testing.T) {
	tests := failingTests(t)
	got := command(t, "", "test", "--tests", tests, "--run", "the other|test_that_holds", "--verbose")
	require.Zero(t, got.code, got.out+got.err)
	require.Equal(t, "pass data.admission.failing_test.test_that_holds\npass missing.yaml: the other passes\n1 Rego tests, 1 cases, 0 failed\n", got.out)
	got = command(t, "", "test", "--tests", tests, "--run", "nothing is called so")
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.err, "no test matches --run")
	require.Contains(t, command(t, "", "test", "--run", "(").err, "--run: ")
}

func TestTestReportsTheCoverageOfEveryFile(t *testing.T) {
	got := command(t, "", "test", "--tests", failingTests(t), "--threshold", "0", "--coverage")
	require.Regexp(t, `(?m)^ *\d+\.\d % lib/tier_range\.rego, not: (\d+, )*\d+$`, got.out)
	require.Regexp(t, `(?m)^100\.0 % lib/names_single_line\.rego$`, command(t, "", "test", "--coverage").out)
}

func TestTestAnswersForMachines(t *testing.T) {
	tests := failingTests(t)
	got := command(t, "", "test", "--tests", tests, "--threshold", "0", "--output", "json")
	require.Equal(t, exitFailed, got.code)
	var answer testAnswer
	require.NoError(t, json.Unmarshal([]byte(got.out), &answer))
	require.Equal(t, 2, answer.Failed)
	require.Len(t, answer.Tests, 4)
	require.NotEmpty(t, answer.Coverage.Files)
	for _, one := range answer.Tests {
		require.Equal(t, one.Outcome == "FAIL", len(one.Problems) > 0, one.Name)
		if one.Kind == "case" && one.Outcome == "FAIL" {
			require.Equal(t, "tier_range", one.DidNotFire[0].Rule.Name)
		}
	}

	got = command(t, "", "test", "--tests", tests, "--threshold", "0", "--output", "junit")
	require.Equal(t, exitFailed, got.code)
	var suites junitSuites
	require.NoError(t, xml.Unmarshal([]byte(got.out), &suites))
	require.Equal(t, 4, suites.Tests)
	require.Equal(t, 2, suites.Failures)
	require.Len(t, suites.Suites, 2)
	last := suites.Suites[1]
	require.Equal(t, "missing.yaml", last.Name)
	require.Contains(t, last.Cases[0].Failure.Text, "tier_range did not fire")
	require.Nil(t, last.Cases[1].Failure)
}

func TestEvalSaysWhyRulesDidNotFire(t *testing.T) {
	review := strings.Replace(evalReview, `"url"`, `"tier": 2, "url"`, 1)
	facts := file(t, "facts.json", platformFacts)
	got := command(t, review, "eval", "--facts", facts, "--explain")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, "denied: 400 PLATFORM_AGENT_IDENTITY_GATE")
	require.Contains(t, got.out, "1 of 14 rules fired; the others did not:\n")
	require.NotContains(t, got.out, "  platform_requires_model (")
	require.Contains(t, got.out, "  tier_range (TIER_INVALID)\n    lib/tier_range.rego:11: ")
	require.Contains(t, got.out, "`input.facts.workspace.status == \"removed\"` was false: input.facts.workspace.status is \"provisioning\"\n")
	require.Contains(t, got.out, "`directory := input.request.workspace_dir` was undefined: no input.request.workspace_dir\n", "of the rule that it asked")

	got = command(t, review, "eval", "--facts", facts, "--explain", "--trace", "tier_range", "--output", "json")
	require.Zero(t, got.code, got.err)
	var answer evalAnswer
	require.NoError(t, json.Unmarshal([]byte(got.out), &answer))
	require.Len(t, answer.Rules, 14)
	for _, one := range answer.Rules {
		require.Equal(t, one.Fired, len(one.Why) == 0, one.Rule.Name)
	}
	require.Contains(t, strings.Join(answer.Trace, "\n"), "tier_exists(tier)")
	require.NotContains(t, strings.Join(answer.Trace, "\n"), "gatehouse")
	require.Contains(t, command(t, review, "eval", "--trace", "nowhere").err, "no rule is called nowhere")
}

func TestEvalTakesFactsFromTheStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
	require.NoError(t, err)
	require.NoError(t, store.Migrate(t.Context()))
	id, err := admission.ParseWorkspaceID("01890a5d-ac96-774b-bcce-b302099a8057")
	require.NoError(t, err)
	row := admission.Workspace{Kind: "platform", Name: "concierge", DeliveryMode: "push"}
	require.NoError(t, store.PutWorkspace(t.Context(), id, row))
	require.NoError(t, store.Close())

	stored := func(url string, args ...string) said {
		return command(t, evalReview, append([]string{"eval", "--database-url", url}, args...)...)
	}
	got := stored("sqlite:"+path, "--workspace", id.String())
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, "PLATFORM_AGENT_IDENTITY_GATE: model_missing")

	require.Contains(t, stored("sqlite:"+path, "--workspace", "01890a5d-ac96-774b-bcce-b302099a8058").err, "the review is of workspace")
	require.Contains(t, stored("sqlite:"+path, "--workspace", "x").err, "--workspace")
	missing := filepath.Join(t.TempDir(), "none.db")
	require.Contains(t, stored("sqlite:"+missing, "--workspace", id.String()).err, "none.db")
	require.NoFileExists(t, missing)
	require.Equal(t, exitUsage, stored("sqlite:"+path, "--workspace", id.String(), "--facts", "f.json").code)
}

func TestPoliciesListsTheCatalogue(t *testing.T) {
	table := command(t, "", "policies")
	require.Zero(t, table.code, table.err)
	require.Regexp(t, `(?m)^workspace_known +WORKSPACE_UNKNOWN +medium +404 +no +heartbeat +heartbeat/workspace_known\.rego:\d+`, table.out)
	require.Equal(t, table.out, command(t, "", "policies", "list").out)

	markdown := command(t, "", "policies", "list", "--output", "markdown")
	require.Contains(t, markdown.out, "| `platform_requires_model` | `PLATFORM_AGENT_IDENTITY_GATE` | critical | 400 | yes | heartbeat, register | ")
	require.Equal(t, strings.Count(table.out, "\n")+1, strings.Count(markdown.out, "\n"))

	var listed struct {
		Revision string           `json:"revision"`
		Rules    []catalogueEntry `json:"rules"`
	}
	require.NoError(t, json.Unmarshal([]byte(command(t, "", "policies", "list", "--output", "json").out), &listed))
	require.Len(t, listed.Rules, strings.Count(table.out, "\n")-1)
	require.NotEmpty(t, listed.Revision)
	require.NotEmpty(t, listed.Rules[0].Description)
	require.Equal(t, exitFailed, command(t, "", "policies", "list", "--policies", policyFolder(t, "broken.rego", "package a\n\nb if c(1)\n")).code)
}

func TestFmtFormatsListsAndWrites(t *testing.T) {
	const crooked, straight = "package a\nb   if   input.c==1\n", "package a\n\nb if input.c == 1\n"
	folder := t.TempDir()
	bad, good := filepath.Join(folder, "bad.rego"), filepath.Join(folder, "good.rego")
	require.NoError(t, os.WriteFile(bad, []byte(crooked), 0o600))
	require.NoError(t, os.WriteFile(good, []byte(straight), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "other.txt"), []byte("x"), 0o600))

	got := command(t, "", "fmt", "--list", folder)
	require.Equal(t, said{exitFailed, bad + "\n", ""}, got)
	require.Equal(t, said{0, straight, ""}, command(t, "", "fmt", bad))
	require.Equal(t, said{0, "", ""}, command(t, "", "fmt", "--write", folder))
	require.Equal(t, said{0, "", ""}, command(t, "", "fmt", "--list", folder))
	text, err := os.ReadFile(bad)
	require.NoError(t, err)
	require.Equal(t, straight, string(text))

	require.NoError(t, os.WriteFile(bad, []byte("package a\n\nb if {"), 0o600))
	got = command(t, "", "fmt", "--write", folder)
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.err, bad+":3:6: rego_parse_error")
	require.Contains(t, got.err, "\tb if {\n\t     ^\n")
	require.Contains(t, command(t, "", "fmt", t.TempDir()).err, "no Rego files")
	require.Equal(t, exitUsage, command(t, "", "fmt").code)
	require.Zero(t, command(t, "", "fmt", "--list", root+"/policies", root+"/policies_test").code)
}

func TestSchemaPrintsSchemas(t *testing.T) {
	for _, name := range []string{"input", "case"} {
		got := command(t, "", "schema", name)
		require.Zero(t, got.code, got.err)
		document, err := jsonschema.UnmarshalJSON(strings.NewReader(got.out))
		require.NoError(t, err)
		compiler := jsonschema.NewCompiler()
		require.NoError(t, compiler.AddResource(name, document))
		_, err = compiler.Compile(name)
		require.NoError(t, err)
	}
	require.Equal(t, string(opa.CaseSchema()), command(t, "", "schema", "case").out)
	require.Equal(t, exitUsage, command(t, "", "schema", "output").code)
}

const skippedTest = `package admission.skipped_test

test_that_holds if true

todo_test_x if false

test_that_prints if {
	print("the tier is", 3)
	1 == 2
}
`

// A test called todo_test_… does not run, fails nothing, and is named in every form of the answer.
func TestSkippedTestsAreReportedAsSuch(t *testing.T) {
	tests := filepath.Dir(file(t, "skipped_test.rego", skippedTest))
	got := command(t, "", "test", "--tests", tests, "--threshold", "0", "--run", "holds|todo")
	require.Zero(t, got.code, got.out+got.err)
	require.Contains(t, got.out, "SKIP data.admission.skipped_test.todo_test_x\n")
	require.Contains(t, got.out, "2 Rego tests, 0 cases, 0 failed, 1 skipped\n")

	got = command(t, "", "test", "--tests", tests, "--threshold", "0", "--run", "holds|todo", "--output", "json")
	var answer testAnswer
	require.NoError(t, json.Unmarshal([]byte(got.out), &answer))
	require.Zero(t, answer.Failed)
	require.Equal(t, 1, answer.Skipped)

	got = command(t, "", "test", "--tests", tests, "--threshold", "0", "--run", "holds|todo", "--output", "junit")
	var suites junitSuites
	require.NoError(t, xml.Unmarshal([]byte(got.out), &suites))
	require.Equal(t, 1, suites.Skipped)
	require.Zero(t, suites.Failures)
}

// What a failing Rego test prints is shown under it.
func TestOutputOfAFailingRegoTestIsShown(t *testing.T) {
	tests := filepath.Dir(file(t, "skipped_test.rego", skippedTest))
	got := command(t, "", "test", "--tests", tests, "--threshold", "0")
	require.Equal(t, exitFailed, got.code)
	require.Regexp(t, `FAIL data\.admission\.skipped_test\.test_that_prints\n(       .*\n)*       it printed:\n       the tier is 3\n`, got.out)
	require.Contains(t, got.out, "3 Rego tests, 0 cases, 1 failed, 1 skipped")
}

// check says of policies that pass how they are weaker than the shipped ones, and what nothing uses.
func TestCheckEndsWithWhatIsWeakerThanShipped(t *testing.T) {
	folder := candidateFolder(t, "{URL_UNSAFE: audit, "+identityGateCode+": warn}")
	require.NoError(t, os.WriteFile(filepath.Join(folder, "notes.txt"), []byte("x"), 0o600))
	got := command(t, "", "check", "--policies", folder)
	require.Zero(t, got.code, got.err)
	require.True(t, strings.HasSuffix(got.out, `
note: notes.txt is left aside: it is neither rules nor data nor tests
weaker than shipped:
  PLATFORM_AGENT_IDENTITY_GATE: is warn, not deny (hook heartbeat, register)
  URL_UNSAFE: is audit, not deny (hook heartbeat, register)
`), got.out)
	var answer checkAnswer
	require.NoError(t, json.Unmarshal([]byte(command(t, "", "check", "--policies", folder, "--output", "json").out), &answer))
	require.Len(t, answer.Weaker, 2)
	require.Len(t, answer.Remarks, 1)
}

// policies diff ends with how the candidate holds less than what is live, before anybody promotes it.
func TestPoliciesDiffEndsWithHowTheCandidateIsWeaker(t *testing.T) {
	candidate := candidateFolder(t, "{URL_UNSAFE: audit, "+identityGateCode+": warn}")
	diff := []string{"policies", "diff", "--database-url", demoFile(t), "--shadow-policies", candidate}
	got := command(t, "", diff...)
	require.Zero(t, got.code, got.err)
	require.True(t, strings.HasSuffix(got.out, `the candidate is weaker than what is live:
  PLATFORM_AGENT_IDENTITY_GATE: is warn, not deny (hook heartbeat, register)
  URL_UNSAFE: is audit, not deny (hook heartbeat, register)
`), got.out)
	var answer diffAnswer
	require.NoError(t, json.Unmarshal([]byte(command(t, "", append(diff, "--output", "json")...).out), &answer))
	require.Len(t, answer.Weaker, 2)

	got = command(t, "", append(diff, "--policies", candidate)...)
	require.Zero(t, got.code, got.err)
	require.NotContains(t, got.out, "weaker")
}

// An argument that is an unset variable of a script must not check the embedded policies instead.
func TestAnEmptyArgumentIsNotTheEmbeddedPolicies(t *testing.T) {
	for _, name := range []string{"check", "test", "fmt"} {
		got := command(t, "", name, "")
		require.NotZero(t, got.code, name)
		require.Empty(t, got.out, name)
	}
	require.Contains(t, command(t, "", "check", "").err, "the argument is empty")
}

// Credentials in the address of policies or of a server are wrong, and are not printed.
func TestAddressesAreShownWithoutCredentials(t *testing.T) {
	for _, args := range [][]string{
		{"check", "oci://user:hunter2@reg.example.com/pol:v1"}, {"check", "oci://reg.example.com/pol?token=hunter2"},
		{"check", "https://u:hunter2@h.example/p.tar.gz"}, {"check", "http://u:hunter2@h.example/p.tar.gz"}, {"check", "ftp://u:hunter2@h/p"},
		{"check", "HTTPS://u:hunter2@h/p.tar.gz"}, {"check", "https:/u:hunter2@h/p"}, {"check", "https://u:hunter2@h:x/p.tar.gz"},
		{"check", "https://h.example/p.tar.gz?token=hunter2"},
		{"policies", "promote", "--url", "http://u:hunter2@127.0.0.1:1", "--revision", "sha256:0123456789abcdef"},
	} {
		got := command(t, "", args...)
		require.NotZero(t, got.code, args)
		require.NotContains(t, got.out+got.err, "hunter2", args)
	}
}
