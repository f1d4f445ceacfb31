package author_test

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/casetest"
	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/author"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/programtest"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
)

const root = "../../.."

func TestCheckPointsAtEveryError(t *testing.T) {
	var broken strings.Builder
	broken.WriteString("package admission.lib\n\n")
	for range 12 {
		broken.WriteString("broken if {\n\tnowhere(1)\n}\n\n")
	}
	folder := cmdtest.PolicyFolder(t, "broken.rego", broken.String())
	got := programtest.Command(t, "", "check", "--policies", folder)
	require.Equal(t, cli.ExitFailed, got.Code)
	file := filepath.Join(folder, "broken.rego")
	require.Contains(t, got.Err, file+":4:2: rego_type_error: undefined function nowhere\n\t\tnowhere(1)\n\t\t^\n")
	require.Equal(t, 12, strings.Count(got.Err, "undefined function nowhere"), "beyond OPA's limit of ten")

	// Files that do not parse are all named, and data that does not, too.
	folder = cmdtest.PolicyFolder(t, "a.rego", "package a\n\nb if {", "b.rego", "package b\n\nc if }", "data.json", "{")
	got = programtest.Command(t, "", "check", "--policies", folder)
	require.Equal(t, cli.ExitFailed, got.Code)
	for _, part := range []string{"a.rego:3:6: rego_parse_error", "b.rego:3:6: rego_parse_error", "data.json"} {
		require.Contains(t, got.Err, part)
	}
}

// A key that cannot be read is an error, although a folder is not signed: serve would not start with it.
func TestCheckReadsThePoliciesKey(t *testing.T) {
	for _, given := range [][]string{{"../../../policies"}, {}} {
		checked := programtest.Command(t, "", append([]string{"check", "--policies-key", "/nonexistent"}, given...)...)
		require.Equal(t, 1, checked.Code)
		require.Contains(t, checked.Err, "key: neither PEM nor a file that can be read")
	}
}

func TestCheckAnswersInJSON(t *testing.T) {
	var answer author.CheckAnswer
	got := programtest.Command(t, "", "check", "--output", "json")
	require.Zero(t, got.Code, got.Err)
	require.NoError(t, json.Unmarshal([]byte(got.Out), &answer))
	require.Empty(t, answer.Problems)
	require.Positive(t, answer.Rules)
	require.Equal(t, []string{"heartbeat", "register"}, answer.Hooks)

	got = programtest.Command(t, "", "check", "--output", "json", "--policies", cmdtest.PolicyFolder(t, "broken.rego", "package a\n\nb if c(1)\n"))
	require.Equal(t, cli.ExitFailed, got.Code)
	require.Empty(t, got.Err)
	require.NoError(t, json.Unmarshal([]byte(got.Out), &answer))
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
	got := programtest.Command(t, "", "test", "--tests", failingTests(t), "--threshold", "0")
	require.Equal(t, cli.ExitFailed, got.Code)
	require.Contains(t, got.Out, `FAIL missing.yaml: a tier that exists is refused
       violations: - expected, + got
       - rule: tier_range, reason: tier_unknown
       tier_range did not fire:
         lib/tier_range.rego:15: `+"`not tier_exists(tier)` was false: tier is 2\n")
	require.Contains(t, got.Out, "its way to what failed:\n")
	require.Contains(t, got.Out, "failed at failing_test.rego:5:\n", "of the Rego test")
	require.NotContains(t, got.Out, "the other passes")
}

func TestTestRunsAPart(t *testing.T) {
	tests := failingTests(t)
	got := programtest.Command(t, "", "test", "--tests", tests, "--run", "the other|test_that_holds", "--verbose")
	require.Zero(t, got.Code, got.Out+got.Err)
	require.Equal(t, "pass data.admission.failing_test.test_that_holds\npass missing.yaml: the other passes\n1 Rego tests, 1 cases, 0 failed\n", got.Out)
	got = programtest.Command(t, "", "test", "--tests", tests, "--run", "nothing is called so")
	require.Equal(t, cli.ExitFailed, got.Code)
	require.Contains(t, got.Err, "no test matches --run")
	require.Contains(t, programtest.Command(t, "", "test", "--run", "(").Err, "--run: ")
}

func TestTestReportsTheCoverageOfEveryFile(t *testing.T) {
	got := programtest.Command(t, "", "test", "--tests", failingTests(t), "--threshold", "0", "--coverage")
	require.Regexp(t, `(?m)^ *\d+\.\d % lib/tier_range\.rego, not: (\d+, )*\d+$`, got.Out)
	require.Regexp(t, `(?m)^100\.0 % lib/names_single_line\.rego$`, programtest.Command(t, "", "test", "--coverage").Out)
}

func TestTestAnswersForMachines(t *testing.T) {
	tests := failingTests(t)
	got := programtest.Command(t, "", "test", "--tests", tests, "--threshold", "0", "--output", "json")
	require.Equal(t, cli.ExitFailed, got.Code)
	var answer author.TestAnswer
	require.NoError(t, json.Unmarshal([]byte(got.Out), &answer))
	require.Equal(t, 2, answer.Failed)
	require.Len(t, answer.Tests, 4)
	require.NotEmpty(t, answer.Coverage.Files)
	for _, one := range answer.Tests {
		require.Equal(t, one.Outcome == "FAIL", len(one.Problems) > 0, one.Name)
		if one.Kind == "case" && one.Outcome == "FAIL" {
			require.Equal(t, "tier_range", one.DidNotFire[0].Rule.Name)
		}
	}

	got = programtest.Command(t, "", "test", "--tests", tests, "--threshold", "0", "--output", "junit")
	require.Equal(t, cli.ExitFailed, got.Code)
	var suites author.JunitSuites
	require.NoError(t, xml.Unmarshal([]byte(got.Out), &suites))
	require.Equal(t, 4, suites.Tests)
	require.Equal(t, 2, suites.Failures)
	require.Len(t, suites.Suites, 2)
	last := suites.Suites[1]
	require.Equal(t, "missing.yaml", last.Name)
	require.Contains(t, last.Cases[0].Failure.Text, "tier_range did not fire")
	require.Nil(t, last.Cases[1].Failure)
}

func TestEvalSaysWhyRulesDidNotFire(t *testing.T) {
	review := strings.Replace(cmdtest.EvalReview, `"url"`, `"tier": 2, "url"`, 1)
	facts := cmdtest.File(t, "facts.json", cmdtest.PlatformFacts)
	got := programtest.Command(t, review, "eval", "--facts", facts, "--explain")
	require.Zero(t, got.Code, got.Err)
	require.Contains(t, got.Out, "denied: 400 PLATFORM_AGENT_IDENTITY_GATE")
	require.Contains(t, got.Out, "1 of 14 rules fired; the others did not:\n")
	require.NotContains(t, got.Out, "  platform_requires_model (")
	require.Contains(t, got.Out, "  tier_range (TIER_INVALID)\n    lib/tier_range.rego:15: `not tier_exists(tier)` was false: tier is 2\n    lib/tier_range.rego:25: ", "each body")
	require.Contains(t, got.Out, "`input.facts.workspace.status == \"removed\"` was false: input.facts.workspace.status is \"provisioning\"\n")
	require.Contains(t, got.Out, "`directory := input.request.workspace_dir` was undefined: no input.request.workspace_dir\n", "of the rule that it asked")

	got = programtest.Command(t, review, "eval", "--facts", facts, "--explain", "--trace", "tier_range", "--output", "json")
	require.Zero(t, got.Code, got.Err)
	var answer author.EvalAnswer
	require.NoError(t, json.Unmarshal([]byte(got.Out), &answer))
	require.Len(t, answer.Rules, 14)
	for _, one := range answer.Rules {
		require.Equal(t, one.Fired, len(one.Why) == 0, one.Rule.Name)
	}
	require.Contains(t, strings.Join(answer.Trace, "\n"), "tier_exists(tier)")
	require.NotContains(t, strings.Join(answer.Trace, "\n"), "gatehouse")
	require.Contains(t, programtest.Command(t, review, "eval", "--trace", "nowhere").Err, "no rule is called nowhere")
}

func TestEvalTakesFactsFromTheStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
	require.NoError(t, err)
	require.NoError(t, store.Migrate(t.Context()))
	id, err := decode.ParseWorkspaceID("01890a5d-ac96-774b-bcce-b302099a8057")
	require.NoError(t, err)
	row := admission.Workspace{Kind: "platform", Name: "concierge", DeliveryMode: "push"}
	require.NoError(t, store.PutWorkspace(t.Context(), id, row))
	require.NoError(t, store.Close())

	stored := func(url string, args ...string) programtest.Said {
		return programtest.Command(t, cmdtest.EvalReview, append([]string{"eval", "--database-url", url}, args...)...)
	}
	got := stored("sqlite:"+path, "--workspace", id.String())
	require.Zero(t, got.Code, got.Err)
	require.Contains(t, got.Out, "PLATFORM_AGENT_IDENTITY_GATE: model_missing")

	require.Contains(t, stored("sqlite:"+path, "--workspace", "01890a5d-ac96-774b-bcce-b302099a8058").Err, "the review is of workspace")
	require.Contains(t, stored("sqlite:"+path, "--workspace", "x").Err, "--workspace")
	missing := filepath.Join(t.TempDir(), "none.db")
	require.Contains(t, stored("sqlite:"+missing, "--workspace", id.String()).Err, "none.db")
	require.NoFileExists(t, missing)
	require.Equal(t, cli.ExitUsage, stored("sqlite:"+path, "--workspace", id.String(), "--facts", "f.json").Code)
}

func TestPoliciesListsTheCatalogue(t *testing.T) {
	table := programtest.Command(t, "", "policies")
	require.Zero(t, table.Code, table.Err)
	require.Regexp(t, `(?m)^workspace_known +WORKSPACE_UNKNOWN +medium +404 +no +heartbeat +heartbeat/workspace_known\.rego:\d+`, table.Out)
	require.Equal(t, table.Out, programtest.Command(t, "", "policies", "list").Out)

	markdown := programtest.Command(t, "", "policies", "list", "--output", "markdown")
	require.Contains(t, markdown.Out, "| `platform_requires_model` | `PLATFORM_AGENT_IDENTITY_GATE` | critical | 400 | yes | heartbeat, register | ")
	require.Equal(t, strings.Count(table.Out, "\n")+1, strings.Count(markdown.Out, "\n"))

	var listed struct {
		Revision string                  `json:"revision"`
		Rules    []author.CatalogueEntry `json:"rules"`
	}
	require.NoError(t, json.Unmarshal([]byte(programtest.Command(t, "", "policies", "list", "--output", "json").Out), &listed))
	require.Len(t, listed.Rules, strings.Count(table.Out, "\n")-1)
	require.NotEmpty(t, listed.Revision)
	require.NotEmpty(t, listed.Rules[0].Description)
	require.Equal(t, cli.ExitFailed, programtest.Command(t, "", "policies", "list", "--policies", cmdtest.PolicyFolder(t, "broken.rego", "package a\n\nb if c(1)\n")).Code)
}

func TestFmtFormatsListsAndWrites(t *testing.T) {
	const crooked, straight = "package a\nb   if   input.c==1\n", "package a\n\nb if input.c == 1\n"
	folder := t.TempDir()
	bad, good := filepath.Join(folder, "bad.rego"), filepath.Join(folder, "good.rego")
	require.NoError(t, os.WriteFile(bad, []byte(crooked), 0o600))
	require.NoError(t, os.WriteFile(good, []byte(straight), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "other.txt"), []byte("x"), 0o600))

	got := programtest.Command(t, "", "fmt", "--list", folder)
	require.Equal(t, programtest.Said{Code: cli.ExitFailed, Out: bad + "\n", Err: ""}, got)
	require.Equal(t, programtest.Said{Code: 0, Out: straight, Err: ""}, programtest.Command(t, "", "fmt", bad))
	require.Equal(t, programtest.Said{Code: 0, Out: "", Err: ""}, programtest.Command(t, "", "fmt", "--write", folder))
	require.Equal(t, programtest.Said{Code: 0, Out: "", Err: ""}, programtest.Command(t, "", "fmt", "--list", folder))
	text, err := os.ReadFile(bad)
	require.NoError(t, err)
	require.Equal(t, straight, string(text))

	require.NoError(t, os.WriteFile(bad, []byte("package a\n\nb if {"), 0o600))
	got = programtest.Command(t, "", "fmt", "--write", folder)
	require.Equal(t, cli.ExitFailed, got.Code)
	require.Contains(t, got.Err, bad+":3:6: rego_parse_error")
	require.Contains(t, got.Err, "\tb if {\n\t     ^\n")
	require.Contains(t, programtest.Command(t, "", "fmt", t.TempDir()).Err, "no Rego files")
	require.Equal(t, cli.ExitUsage, programtest.Command(t, "", "fmt").Code)
	require.Zero(t, programtest.Command(t, "", "fmt", "--list", root+"/policies", root+"/policies_test").Code)
}

func TestSchemaPrintsSchemas(t *testing.T) {
	for _, name := range []string{"input", "case"} {
		got := programtest.Command(t, "", "schema", name)
		require.Zero(t, got.Code, got.Err)
		document, err := jsonschema.UnmarshalJSON(strings.NewReader(got.Out))
		require.NoError(t, err)
		compiler := jsonschema.NewCompiler()
		require.NoError(t, compiler.AddResource(name, document))
		_, err = compiler.Compile(name)
		require.NoError(t, err)
	}
	require.Equal(t, string(casetest.Schema()), programtest.Command(t, "", "schema", "case").Out)
	require.Equal(t, cli.ExitUsage, programtest.Command(t, "", "schema", "output").Code)
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
	tests := filepath.Dir(cmdtest.File(t, "skipped_test.rego", skippedTest))
	got := programtest.Command(t, "", "test", "--tests", tests, "--threshold", "0", "--run", "holds|todo")
	require.Zero(t, got.Code, got.Out+got.Err)
	require.Contains(t, got.Out, "SKIP data.admission.skipped_test.todo_test_x\n")
	require.Contains(t, got.Out, "2 Rego tests, 0 cases, 0 failed, 1 skipped\n")

	got = programtest.Command(t, "", "test", "--tests", tests, "--threshold", "0", "--run", "holds|todo", "--output", "json")
	var answer author.TestAnswer
	require.NoError(t, json.Unmarshal([]byte(got.Out), &answer))
	require.Zero(t, answer.Failed)
	require.Equal(t, 1, answer.Skipped)

	got = programtest.Command(t, "", "test", "--tests", tests, "--threshold", "0", "--run", "holds|todo", "--output", "junit")
	var suites author.JunitSuites
	require.NoError(t, xml.Unmarshal([]byte(got.Out), &suites))
	require.Equal(t, 1, suites.Skipped)
	require.Zero(t, suites.Failures)
}

// What a failing Rego test prints is shown under it.
func TestOutputOfAFailingRegoTestIsShown(t *testing.T) {
	tests := filepath.Dir(cmdtest.File(t, "skipped_test.rego", skippedTest))
	got := programtest.Command(t, "", "test", "--tests", tests, "--threshold", "0")
	require.Equal(t, cli.ExitFailed, got.Code)
	require.Regexp(t, `FAIL data\.admission\.skipped_test\.test_that_prints\n(       .*\n)*       it printed:\n       the tier is 3\n`, got.Out)
	require.Contains(t, got.Out, "3 Rego tests, 0 cases, 1 failed, 1 skipped")
}

// check says of policies that pass how they are weaker than the shipped ones, and what nothing uses.
func TestCheckEndsWithWhatIsWeakerThanShipped(t *testing.T) {
	folder := cmdtest.CandidateFolder(t, "{URL_UNSAFE: audit, "+cmdtest.IdentityGateCode+": warn}")
	require.NoError(t, os.WriteFile(filepath.Join(folder, "notes.txt"), []byte("x"), 0o600))
	got := programtest.Command(t, "", "check", "--policies", folder)
	require.Zero(t, got.Code, got.Err)
	require.True(t, strings.HasSuffix(got.Out, `
note: notes.txt is left aside: it is neither rules nor data nor tests
weaker than shipped:
  PLATFORM_AGENT_IDENTITY_GATE: is warn, not deny (hook heartbeat, register)
  URL_UNSAFE: is audit, not deny (hook heartbeat, register)
`), got.Out)
	var answer author.CheckAnswer
	require.NoError(t, json.Unmarshal([]byte(programtest.Command(t, "", "check", "--policies", folder, "--output", "json").Out), &answer))
	require.Len(t, answer.Weaker, 2)
	require.Len(t, answer.Remarks, 1)
}

// policies diff ends with how the candidate holds less than what is live, before anybody promotes it.
func TestPoliciesDiffEndsWithHowTheCandidateIsWeaker(t *testing.T) {
	candidate := cmdtest.CandidateFolder(t, "{URL_UNSAFE: audit, "+cmdtest.IdentityGateCode+": warn}")
	diff := []string{"policies", "diff", "--database-url", programtest.DemoFile(t), "--shadow-policies", candidate}
	got := programtest.Command(t, "", diff...)
	require.Zero(t, got.Code, got.Err)
	require.True(t, strings.HasSuffix(got.Out, `the candidate is weaker than what is live:
  PLATFORM_AGENT_IDENTITY_GATE: is warn, not deny (hook heartbeat, register)
  URL_UNSAFE: is audit, not deny (hook heartbeat, register)
`), got.Out)
	var answer author.DiffAnswer
	require.NoError(t, json.Unmarshal([]byte(programtest.Command(t, "", append(diff, "--output", "json")...).Out), &answer))
	require.Len(t, answer.Weaker, 2)

	got = programtest.Command(t, "", append(diff, "--policies", candidate)...)
	require.Zero(t, got.Code, got.Err)
	require.NotContains(t, got.Out, "weaker")
}

// An argument that is an unset variable of a script must not check the embedded policies instead.
func TestEmptyArgumentIsNotTheEmbeddedPolicies(t *testing.T) {
	for _, name := range []string{"check", "test", "fmt"} {
		got := programtest.Command(t, "", name, "")
		require.NotZero(t, got.Code, name)
		require.Empty(t, got.Out, name)
	}
	require.Contains(t, programtest.Command(t, "", "check", "").Err, "the argument is empty")
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
		got := programtest.Command(t, "", args...)
		require.NotZero(t, got.Code, args)
		require.NotContains(t, got.Out+got.Err, "hunter2", args)
	}
}
