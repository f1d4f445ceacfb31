package program_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/program"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/programtest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/settings"
)

// variableOf is what a flag's variable is called, whether it has one or not.
func variableOf(flag *kong.Flag) string {
	return "GATEHOUSE_" + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
}

// eachFlag goes through the flags of every command. The words are those that call the command.
func eachFlag(t *testing.T, do func(words []string, flag *kong.Flag)) {
	t.Helper()
	parser, err := program.NewParser(&program.Commands{}, "devel", cli.Streams{Out: io.Discard, Err: io.Discard}, func(int) {})
	require.NoError(t, err)
	for _, node := range parser.Model.Leaves(false) {
		for _, flag := range node.Flags {
			do(strings.Fields(node.Path()), flag)
		}
	}
}

func TestDurationWithoutAUnitIsRefused(t *testing.T) {
	for name, want := range map[string]string{
		"request-timeout=2": "request-timeout: a unit is missing (2s?)", "policies-poll=30": "policies-poll: a unit is missing (30s?)",
		"facts-timeout=500": "facts-timeout: a unit is missing (500ms?)", "audit-interval=3600": "audit-interval: a unit is missing (3600s?)",
		"retention=30": "retention: a unit is missing (30h?)", "rate-limit=0.4": "rate-limit: want a whole number",
		"max-body-bytes=010": "max-body-bytes: want a whole number", "shadow-queue=1_000": "shadow-queue: want a whole number",
		"max-in-flight=99999999999999999999": "max-in-flight: want a whole number that is not too large", "database-max-conns=3000000000": "database-max-conns: want a whole number that is not too large",
	} {
		t.Run(name, func(t *testing.T) {
			flag, value, _ := strings.Cut(name, "=")
			_, err := parse(t, "serve", "--"+name)
			require.ErrorContains(t, err, "--"+want)
			for _, form := range []string{"%s: %s\n", "%s: '%s'\n"} {
				_, err = parse(t, "serve", "--config", cmdtest.File(t, "config.yaml", fmt.Sprintf(form, flag, value)))
				require.ErrorContains(t, err, "config.yaml:1:")
				if !strings.Contains(err.Error(), "YAML") { // 010, 0x10, 1_000 are refused by the reader already
					require.ErrorContains(t, err, want)
				}
			}
			variable := "GATEHOUSE_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
			t.Setenv(variable, value)
			_, err = parse(t, "serve")
			_, says, _ := strings.Cut(want, ": ")
			require.ErrorContains(t, err, variable+": "+says)
		})
	}
	got, err := parse(t, "serve", "--config", cmdtest.File(t, "config.yaml", "policies-poll: 0\nretention: 30d\n"), "--audit-interval=0", "--max-policy-age=7d")
	require.NoError(t, err)
	require.Zero(t, got.Serve.PoliciesPoll)
	require.Equal(t, 720*time.Hour, got.Serve.Retention)
	require.Equal(t, 168*time.Hour, got.Serve.MaxPolicyAge)
}

// GATEHOUSE_POLICIES_KEY= over a file's policies-key turned the signature check off.
func TestEmptyVariableIsNotSet(t *testing.T) {
	t.Setenv("GATEHOUSE_POLICIES_KEY", "")
	t.Setenv("GATEHOUSE_MAX_DEPTH", "")
	t.Setenv("GATEHOUSE_CONFIG", "")
	config := cmdtest.File(t, "config.yaml", "policies-key: [a.pem, b.pem]\nmax-depth: 10\n")
	got, err := parse(t, "serve", "--config", config)
	require.NoError(t, err)
	require.Equal(t, []string{"a.pem", "b.pem"}, got.Serve.PoliciesKey)
	require.Equal(t, 10, got.Serve.MaxDepth)
	got, err = parse(t, "serve")
	require.NoError(t, err)
	require.Equal(t, 64, got.Serve.MaxDepth, "the default")
}

func TestEmptyFlagIsRefused(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	eachFlag(t, func(words []string, flag *kong.Flag) {
		kind := flag.Name + flag.Target.Type().String()
		if seen[kind] || flag.Name == "help" || flag.Enum != "" && slices.Contains(flag.EnumSlice(), "") {
			return
		}
		seen[kind] = true
		_, err := parse(t, append(slices.Clone(words), "--"+flag.Name+"=")...)
		require.Error(t, err, "%v --%s=", words, flag.Name)
		require.Contains(t, err.Error(), "--"+flag.Name+": the value is empty", "%v", words)
	})
	_, err := parse(t, "serve", "--policies-key=a.pem,,b.pem")
	require.ErrorContains(t, err, "--policies-key: the value is empty")
}

func TestUnknownVariableIsToldWithAWarning(t *testing.T) {
	t.Setenv("GATEHOUSE_RATE_LIMTI", "5")
	t.Setenv("GATEHOUSE_ENFORCE", "true")
	t.Setenv("GATEHOUSE_SINKS", "[{name: a, type: webhook, url: 'https://example.com', secrets: ['env:GATEHOUSE_HOOK_SECRET']}]")
	t.Setenv("GATEHOUSE_HOOK_SECRET", "x")
	t.Setenv("GATEHOUSE_SERVICE_HOST", "10.0.0.1") // Kubernetes tells a container of every Service
	t.Setenv("GATEHOUSE_PORT_8181_TCP_ADDR", "10.0.0.1")
	t.Setenv("GATEHOUSE_ADMIN_SERVICE_PORT_HTTP", "80")
	t.Setenv("GATEHOUSE_TEST_REDIS_URL", "x")
	got := programtest.Command(t, "", "schema", "input")
	require.Zero(t, got.Code)
	require.Equal(t, "gatehouse: warning: GATEHOUSE_ENFORCE has no effect: --enforce is for the command line only\n"+
		"gatehouse: warning: GATEHOUSE_RATE_LIMTI has no effect: there is no such setting, did you mean \"GATEHOUSE_RATE_LIMIT\"?\n", got.Err)
	got = programtest.Command(t, "", "serve", "--database-url=mysql://x")
	require.Contains(t, got.Err, `"level":"WARN","msg":"GATEHOUSE_RATE_LIMTI has no effect`, "a server's warnings are in its log")
}

// What lets one call enforce, write or send, or says what one call looks at, is for the command line: neither a variable nor
// a file that was meant for another command may change it.
func TestFlagsOfOneCallHaveNoVariable(t *testing.T) {
	without := make(map[string]bool)
	eachFlag(t, func(words []string, flag *kong.Flag) {
		if len(flag.Envs) == 0 {
			without[strings.Join(words, " ")+" --"+flag.Name] = true
		}
	})
	for _, name := range []string{
		"audit run --enforce", "audit run --fresh", "audit run --rate", "bench --enforce", "bench --decisions", "bench --url", "announcements retry --dead", "announcements retry --sink",
		"announcements discard --state", "announcements discard --sink", "fmt --write", "bundle sign --output-file", "decisions export --output-file",
		"policies promote --url", "policies promote --revision", "replay --since", "replay --limit", "replay --hook", "eval --hook", "serve --allow-rollback",
	} {
		require.True(t, without[name], name)
	}
	t.Setenv("GATEHOUSE_ENFORCE", "true")
	got, err := parse(t, "audit", "run")
	require.NoError(t, err)
	require.False(t, got.Audit.Run.Enforce)
}

// One variable is never two settings.
func TestVariablesMeanTheSameToEveryCommand(t *testing.T) {
	t.Parallel()
	type meaning struct{ of, value string }
	meanings := make(map[string]meaning)
	eachFlag(t, func(words []string, flag *kong.Flag) {
		for _, variable := range flag.Envs {
			this := meaning{flag.Target.Type().String(), flag.Default}
			if known, found := meanings[variable]; found {
				require.Equal(t, known, this, "%s of %v", variable, words)
			}
			meanings[variable] = this
		}
	})
	require.Contains(t, slices.Sorted(maps.Keys(meanings)), "GATEHOUSE_POLICIES_KEY")
}

func TestSecretIsTrimmedOfOneLineEnd(t *testing.T) {
	const token = "0123456789abcdef0123"
	secrets := 0
	eachFlag(t, func(words []string, flag *kong.Flag) {
		if strings.Contains(flag.Name, "token") && flag.Name != "tokens-file" && flag.Name != "decision-log-token-file" || strings.HasSuffix(flag.Name, "-url") {
			require.Equal(t, "secret", flag.Tag.Type, "%v --%s", words, flag.Name)
			secrets++
		}
	})
	require.Greater(t, secrets, 10)
	for _, text := range []string{token + "\n", token + "\r\n", token} {
		t.Setenv("GATEHOUSE_REGISTRY_TOKEN", text)
		got, err := parse(t, "serve")
		require.NoError(t, err)
		require.Equal(t, token, got.Serve.RegistryToken)
	}
	for _, text := range []string{" " + token, token + " ", token + "\n\n", token + "\t", "\n" + token, token[:10] + "\n" + token[10:], "\n", " "} {
		t.Setenv("GATEHOUSE_REGISTRY_TOKEN", text)
		_, err := parse(t, "serve")
		require.ErrorContains(t, err, "GATEHOUSE_REGISTRY_TOKEN: ", "%q", text)
		require.NotContains(t, err.Error(), token[:8])
	}
}

// Every setting of every command is given something malformed that holds a secret, in every way that there is.
func TestErrorsOfSettingsRepeatNoValue(t *testing.T) {
	const marker = "hunter2marker"
	values := []string{
		marker, " " + marker + "\n", "https://u:" + marker + "@[", "postgres://u:" + marker + " x@h:no/", "[{name: x, url: '" + marker, "*" + marker, marker + "=",
		"[{name: x, type: webhook, url: 'https://u:" + marker + "@h', secrets: [whsec_" + marker + "]}]", "{" + marker, "2" + marker, "- " + marker, "!" + marker + " x", "\t" + marker,
		"{name: {a: " + marker + "}}",
	}
	if os.Getenv("QUICK_TESTS") != "" {
		values = values[:3]
	}
	given := 0
	said := new(bytes.Buffer)
	parser, err := program.NewParser(&program.Commands{}, "devel", cli.Streams{Out: said, Err: said}, func(int) {})
	require.NoError(t, err)
	seen := make(map[string]bool)
	eachFlag(t, func(words []string, flag *kong.Flag) {
		kind := fmt.Sprintf("%s %s %s", flag.Name, flag.Target.Type(), flag.Enum)
		if flag.Name == "help" || flag.Name == "config" || flag.Name == "version" || seen[kind] {
			return
		}
		seen[kind] = true
		for _, value := range values {
			config := cmdtest.File(t, "config.yaml", flag.Name+": "+value+"\n")
			ways := [][]string{{"--" + flag.Name + "=" + value}, {"--" + flag.Name, value}, {"--" + flag.Name + "x=" + value}, {"--config", config}}
			for _, way := range ways {
				requireHidden(t, parser, said, marker, append(slices.Clone(words), way...))
				given++
			}
			t.Setenv(variableOf(flag), value)
			requireHidden(t, parser, said, marker, words)
			t.Setenv(variableOf(flag), "")
		}
	})
	require.Greater(t, given, 200*len(values))
}

// requireHidden parses a command line and requires that neither its error nor what it prints shows the marker.
func requireHidden(t *testing.T, parser *kong.Kong, said *bytes.Buffer, marker string, args []string) {
	t.Helper()
	said.Reset()
	_, err := parser.Parse(args)
	if err != nil {
		said.WriteString(settings.WithoutArguments(err, args))
	}
	require.NotContains(t, said.String(), marker, "%v", args)
}

// What a server cannot use of its settings is told without them.
func TestServeThatCannotStartRepeatsNoSecret(t *testing.T) {
	t.Parallel()
	const marker = "hunter2marker"
	for name, value := range map[string]string{
		"database-url":       "postgres://u:" + marker + "%zz@h:no/db",
		"redis-url":          "redis://u:" + marker + "%zz@h:no/db",
		"registry-token":     marker,
		"sinks":              "[{name: x, type: webhook, url: 'http://u:" + marker + "@h', secrets: [whsec_" + marker + "]}]",
		"policies-key":       marker,
		"tokens-file":        cmdtest.File(t, "tokens.yaml", "tokens: [{name: a, role: registry, sha256: "+marker+"}]\n"),
		"decision-log-url":   "http://u:" + marker + "%zz@h:no/",
		"decision-log-token": " " + marker,
	} {
		args := []string{"serve", "--listen=127.0.0.1:0"}
		if name != "database-url" {
			args = append(args, "--database-url=sqlite:")
		}
		got := programtest.Command(t, "", append(args, "--"+name+"="+value)...)
		require.NotZero(t, got.Code, name)
		require.NotContains(t, got.Err+got.Out, marker, name)
	}
}

func TestPoliciesAreTakenAsAnArgument(t *testing.T) {
	folder := cmdtest.PolicyFolder(t)
	for _, name := range []string{"check", "test"} {
		got, err := parse(t, name, folder)
		require.NoError(t, err)
		require.Equal(t, folder, map[string]string{"check": got.Check.Policies, "test": got.Test.Policies}[name])
		_, err = parse(t, name, folder, "--policies=embedded")
		require.ErrorContains(t, err, "the policies are said twice")
		t.Setenv("GATEHOUSE_POLICIES", "/nowhere")
		got, err = parse(t, name, folder)
		require.NoError(t, err)
		require.Equal(t, folder, map[string]string{"check": got.Check.Policies, "test": got.Test.Policies}[name], "before a variable")
		t.Setenv("GATEHOUSE_POLICIES", "")
	}
	got := programtest.Command(t, "", "check", folder)
	require.Zero(t, got.Code, got.Err)
	require.Contains(t, got.Out, folder+": ")
	require.Zero(t, programtest.Command(t, "", "fmt", "--list", folder).Code)
}

func TestVersionAndHelpAreTakenAsPeersHaveThem(t *testing.T) {
	t.Parallel()
	flag, word := programtest.Command(t, "", "--version"), programtest.Command(t, "", "version")
	require.Zero(t, flag.Code, flag.Err)
	require.Equal(t, word, flag)
	require.Equal(t, programtest.Command(t, "", "--help"), programtest.Command(t, "", "help"))
	require.Equal(t, programtest.Command(t, "", "audit", "run", "--help"), programtest.Command(t, "", "help", "audit", "run"))
	require.Contains(t, programtest.Command(t, "", "help", "check").Out, "GATEHOUSE_POLICIES_KEY")
}
