package program_test

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/program"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/programtest"
)

// parse gives the commands as these arguments, the environment and the file that they name make them.
func parse(t *testing.T, args ...string) (program.Commands, error) {
	t.Helper()
	parser, err := program.NewParser(&program.Commands{}, "devel", cli.Streams{Out: &bytes.Buffer{}, Err: &bytes.Buffer{}}, func(int) {})
	require.NoError(t, err)
	_, err = parser.Parse(args)
	return parser.Model.Target.Interface().(program.Commands), err
}

// serveFlags are the flags of serve without --help and --config.
func serveFlags(t *testing.T) []*kong.Flag {
	t.Helper()
	parser, err := program.NewParser(&program.Commands{}, "devel", cli.Streams{Out: &bytes.Buffer{}, Err: &bytes.Buffer{}}, func(int) {})
	require.NoError(t, err)
	for _, node := range parser.Model.Leaves(false) {
		if node.Name == "serve" {
			require.NotEmpty(t, node.Flags)
			return node.Flags
		}
	}
	require.FailNow(t, "no serve")
	return nil
}

// sample is a value for a flag that is not its default, as text, and what it is.
func sample(t *testing.T, flag *kong.Flag) (text string, value any) {
	t.Helper()
	switch flag.Target.Interface().(type) {
	case time.Duration:
		return "77s", 77 * time.Second
	case bool:
		return "true", true
	case int, int32, int64:
		return "77000000", reflect.ValueOf(77000000).Convert(flag.Target.Type()).Interface()
	case float64:
		return "0.77", 0.77
	case string:
		if flag.Enum != "" {
			enum := flag.EnumSlice()
			last := enum[len(enum)-1]
			require.NotEqual(t, flag.Default, last)
			return last, last
		}
		if flag.Tag.Type == "existingfile" {
			path := cmdtest.File(t, "existing", "")
			return path, path
		}
		return "something", "something"
	}
	switch flag.Target.Interface().(type) {
	case []string:
		return "something", []string{"something"}
	case map[string]string:
		return "place=here", map[string]string{"place": "here"}
	case flags.SinkList:
		return `[{name: bus, type: nats, url: "nats://n:4222"}]`, flags.SinkList{{Name: "bus", Settings: sinks.NATS{URL: "nats://n:4222"}}}
	}
	require.FailNow(t, "no sample", "%s of %s", flag.Name, flag.Target.Type())
	return "", nil
}

func TestEveryFlagOfServeIsAVariableAndAKeyToo(t *testing.T) {
	names := make(map[string]bool)
	for _, flag := range serveFlags(t) {
		names[flag.Name] = true
		t.Run(flag.Name, func(t *testing.T) {
			if flag.Name == "allow-rollback" || flag.Name == "version" {
				require.Empty(t, flag.Envs, "it is for the command line only")
				return
			}
			variable := "GATEHOUSE_" + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
			require.Equal(t, []string{variable}, flag.Envs)
			require.NotEmpty(t, flag.Help)
			text, want := sample(t, flag)
			value := func(args ...string) any {
				parser, err := program.NewParser(&program.Commands{}, "devel", cli.Streams{Out: &bytes.Buffer{}, Err: &bytes.Buffer{}}, func(int) {})
				require.NoError(t, err)
				_, err = parser.Parse(append([]string{"serve"}, args...))
				require.NoError(t, err)
				for _, node := range parser.Model.Leaves(false) {
					for _, one := range node.Flags {
						if node.Name == "serve" && one.Name == flag.Name {
							return one.Target.Interface()
						}
					}
				}
				return nil
			}
			require.NotEqual(t, want, value(), "the default")
			require.Equal(t, want, value("--"+flag.Name+"="+text))
			require.Equal(t, want, value("--config", cmdtest.File(t, "config.yaml", flag.Name+": "+text+"\n")))
			t.Setenv(variable, text)
			require.Equal(t, want, value())
		})
	}
	for _, name := range []string{
		"listen", "database-url", "redis-url", "policies", "tokens-file", "facts-query-file", "facts-timeout", "policy-timeout", "request-timeout",
	} {
		require.True(t, names[name], "the name --%s is promised", name)
	}
}

func TestFlagsComeBeforeVariablesAndVariablesBeforeTheFile(t *testing.T) {
	config := cmdtest.File(t, "config.yaml", "max-depth: 10\nlisten: 127.0.0.1:1\nfacts-timeout: 1s\ndemo: true\n")
	t.Setenv("GATEHOUSE_MAX_DEPTH", "20")
	t.Setenv("GATEHOUSE_LISTEN", "127.0.0.1:2")
	t.Setenv("GATEHOUSE_DEMO", "false")
	got, err := parse(t, "serve", "--config", config, "--listen", "127.0.0.1:3")
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:3", got.Serve.Listen)
	require.Equal(t, 20, got.Serve.MaxDepth)
	require.False(t, got.Serve.Demo)
	require.Equal(t, time.Second, got.Serve.FactsTimeout)
	require.Equal(t, 250*time.Millisecond, got.Serve.PolicyTimeout)
}

func TestConfigurationFileCanBeNamedByAVariable(t *testing.T) {
	t.Setenv("GATEHOUSE_CONFIG", cmdtest.File(t, "config.yaml", "max-depth: 10\n"))
	got, err := parse(t, "serve")
	require.NoError(t, err)
	require.Equal(t, 10, got.Serve.MaxDepth)
}

func TestConfigurationFileServesEveryCommand(t *testing.T) {
	t.Parallel()
	config := cmdtest.File(t, "config.yaml", "database-url: sqlite:x.db\nmax-depth: 10\nthreshold: 99.5\n")
	got, err := parse(t, "migrate", "--config", config)
	require.NoError(t, err)
	require.Equal(t, "sqlite:x.db", got.Migrate.DatabaseURL)
	got, err = parse(t, "test", "--config", config)
	require.NoError(t, err)
	require.InDelta(t, 99.5, got.Test.Threshold, 0)
	_, err = parse(t, "serve", "--config", cmdtest.File(t, "config.yaml", ""))
	require.NoError(t, err, "an empty file")
	_, err = parse(t, "serve", "--config", cmdtest.File(t, "config.yaml", "# max-depth: 10\n"))
	require.NoError(t, err, "a file of comments")
}

func TestConfigurationFileIsReadStrictly(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"max-dept: 10\nmax-depth: 10\nfact-timeout: 1s": `config.yaml:3:1: unknown name "fact-timeout", did you mean "facts-timeout"?`,
		"max_depth: 10":                     `config.yaml:1:1: unknown name "max_depth", did you mean "max-depth"?`,
		"Max-Depth: 10":                     `unknown name "Max-Depth", did you mean "max-depth"?`,
		"max-depth: 10\nmax-depth: 20":      `config.yaml:2:1: "max-depth" is there twice`,
		"max-depth: 10\n---\ndemo: true":    "config.yaml:2:1: a second document begins here",
		"max-depth: many":                   "config.yaml:1:1: max-depth: want a whole number",
		"max-depth: 1.5":                    "max-depth: want a whole number",
		"max-depth: [10]":                   "want one value, not a list",
		"max-depth: true":                   "want a number",
		"max-depth:":                        "max-depth: the value is empty",
		"facts-timeout: soon":               "facts-timeout: want a duration such as",
		"log-level: loud":                   "log-level: want one of debug, info, warn, error",
		"demo: perhaps":                     "demo: want true or false",
		"demo: 1":                           "demo: want true or false",
		"demo: yes":                         "config.yaml:1:7: YAML 1.1 reads this as true or false",
		"listen: 8181":                      "listen: want a text: quote it",
		"registry-token: 12345678901234567": "registry-token: want a text: quote it",
		"decision-log-labels: {a: 1}":       "decision-log-labels: want keys and texts",
		"policies-key: []":                  "policies-key: the value is empty",
		"policies-key: ['']":                "policies-key: want a list of texts that are not empty",
		"policies-key: ''":                  "policies-key: the value is empty",
		"policies-key:":                     "policies-key: the value is empty",
		"enforce: true":                     "config.yaml:1:1: enforce is for the command line only",
		"config: other.yaml":                "config is for the command line only",
		"- max-depth":                       "the configuration file must hold keys and values",
		"max-depth: [":                      "config.yaml:2:1",
	} {
		got := programtest.Command(t, "", "serve", "--config", cmdtest.File(t, "config.yaml", text+"\n"))
		require.Equal(t, cli.ExitUsage, got.Code, text)
		require.Contains(t, got.Err, want, text)
	}
}

func TestServeRefusesLimitsThatSwitchAPromiseOff(t *testing.T) {
	t.Parallel()
	for _, flag := range serveFlags(t) {
		var values []string
		switch flag.Target.Interface().(type) {
		case time.Duration:
			values = []string{"-1s", "0s", "1ns"}
		case int, int32, int64:
			values = []string{"-1", "0"}
		}
		switch flag.Name {
		case "rate-limit", "policies-poll", "policies-long-poll", "max-policy-age", "retention", "shutdown-delay", "audit-interval", "audit-rate": // 0 is for none
			values = values[:1]
		}
		if least, limited := map[string]string{"policies-poll": "1ns", "audit-interval": "999ms", "retention": "23h"}[flag.Name]; limited {
			values = append(values, least)
		}
		for _, value := range values {
			got := programtest.Command(t, "", "serve", "--listen=127.0.0.1:0", "--database-url=sqlite:/nowhere/x.db", fmt.Sprintf("--%s=%s", flag.Name, value))
			require.Equal(t, cli.ExitFailed, got.Code, "--%s=%s", flag.Name, value)
			require.Regexp(t, "--"+flag.Name+" must (be more than 0|not be negative|be at least)", got.Err)
		}
	}
}
