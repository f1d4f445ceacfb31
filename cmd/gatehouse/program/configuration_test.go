package program_test

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/program"
)

var update = flag.Bool("update", false, "write the page of the flags")

const root = "../../.."

// docs/configuration.md is generated from the structs that define the flags:
//
//	go test ./cmd/gatehouse/program -run TestTheConfigurationPage -update
func TestConfigurationPageIsGeneratedFromTheFlags(t *testing.T) {
	t.Parallel()
	const page = root + "/docs/configuration.md"
	want := configurationPage(t)
	if *update {
		require.NoError(t, os.WriteFile(page, []byte(want), 0o644)) //nolint:gosec // a page is for everybody to read
	}
	got, err := os.ReadFile(page)
	require.NoError(t, err)
	require.True(t, want == string(got), "docs/configuration.md is not what the flags are: run this test with -update")
}

// pathOf is what a person types: gatehouse decisions list.
func pathOf(command *kong.Node) string {
	if command.Parent == nil {
		return "gatehouse"
	}
	return pathOf(command.Parent) + " " + command.Name
}

func configurationPage(t *testing.T) string {
	t.Helper()
	parser, err := program.NewParser(&program.Commands{}, "devel", cli.Streams{Out: io.Discard, Err: io.Discard}, func(int) {})
	require.NoError(t, err)
	var page strings.Builder
	page.WriteString(strings.ReplaceAll(configurationHead, "~", "`"))
	for _, command := range parser.Model.Leaves(true) {
		if len(command.Flags) == 0 {
			continue
		}
		fmt.Fprintf(&page, "\n## %s\n\n%s\n\n| flag and key | variable | default | meaning |\n|---|---|---|---|\n", pathOf(command), command.Help)
		for _, flag := range command.Flags {
			value := "none"
			if flag.Default != "" {
				value = "`" + flag.Default + "`"
			}
			variable := "none: command line only"
			if len(flag.Envs) > 0 {
				variable = "`" + strings.Join(flag.Envs, ", ") + "`"
			}
			fmt.Fprintf(&page, "| `%s` | %s | %s | %s |\n", flag.Name, variable, value, flag.Help)
		}
	}
	return page.String()
}

const configurationHead = "# Configuration\n" + `
This page is generated from the program's flags. A flag with a variable is also a key of the YAML file that
~--config FILE~ (~GATEHOUSE_CONFIG~) names; the key is the flag's name. A flag comes before a variable, a variable before
the file.

- **Units.** A duration needs one: ~500ms~, ~2s~, ~24h~, ~7d~, ~1d12h~. Only ~0~ needs none. Counts and sizes are whole
  decimal numbers; sizes are in bytes.
- **Empty.** A variable that is empty is not set: it never takes the place of what the file says. An empty flag
  (~--policies-key=~) and an empty key of the file are refused; leave them out.
- **Unknown.** An unknown key of the file is an error. An unknown ~GATEHOUSE_…~ variable is told with a warning; those of
  Kubernetes' Services, and those that a setting names (~env:NAME~), are known.
- **Command line only.** What lets a call enforce, write or send, what says which records it looks at, and what switches a
  protection off (~--allow-rollback~) has neither a variable nor a key. So a variable that is meant for ~serve~ never changes
  what another command does.
- **Secrets.** One line end after a token or a URL is taken away. Other blanks around it are refused. Errors name the flag,
  the variable, or the line of the file, and never repeat a value.

The same reader reads the configuration, ~data.yaml~, case files, tokens and sinks. It takes what every reader of YAML
understands in the same way, and says file, line and column of what it refuses:

- a second document (~---~), and a key that is there twice, at any depth;
- words that YAML 1.1 and 1.2 read differently, unless they are quoted: ~yes~, ~no~, ~on~, ~off~, ~y~, ~n~, ~0123~, ~0o17~,
  ~1_000~, ~1:30~, ~.inf~, ~.nan~. Write ~true~ or ~false~, or quote a text;
- numbers with more digits than OPA keeps of YAML, keys that are no texts (~403: x~), tags (~!!binary~), merge keys (~<<~), and
  the few forms that two libraries read differently. Anchors and aliases are taken, for up to 100,000 values;
- a byte order mark, UTF-16, what is no UTF-8, and tabs as indentation.

A file whose name ends in ~.json~ is read as JSON, with the same rules.
`
