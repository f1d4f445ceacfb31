package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// docs/configuration.md is generated from the structs that define the flags:
//
//	go test ./cmd/gatehouse -run TestTheConfigurationPage -update
func TestTheConfigurationPageIsWhatTheFlagsAre(t *testing.T) {
	const page = root + "/docs/configuration.md"
	want := configurationPage(t)
	if *update {
		require.NoError(t, os.WriteFile(page, []byte(want), 0o644)) //nolint:gosec // a page is for everybody to read
	}
	got, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Equal(t, want, string(got))
}

func configurationPage(t *testing.T) string {
	t.Helper()
	parser, err := newParser(streams{out: io.Discard, err: io.Discard}, func(int) {})
	require.NoError(t, err)
	var page strings.Builder
	page.WriteString(`# Configuration

This page is generated from the program's flags. Each is also an environment variable and a key of the YAML file
that ` + "`--config FILE`" + ` (` + "`GATEHOUSE_CONFIG`" + `) names; the key is the flag's name. A flag comes before a variable, a
variable before the file. Unknown keys of the file are errors. Durations are written like ` + "`500ms`" + ` or ` + "`2s`" + `.
`)
	for _, command := range parser.Model.Leaves(true) {
		if len(command.Flags) == 0 {
			continue
		}
		fmt.Fprintf(&page, "\n## gatehouse %s\n\n%s\n\n| flag and key | variable | default | meaning |\n|---|---|---|---|\n", command.Name, command.Help)
		for _, flag := range command.Flags {
			value := "none"
			if flag.Default != "" {
				value = "`" + flag.Default + "`"
			}
			fmt.Fprintf(&page, "| `%s` | `%s` | %s | %s |\n", flag.Name, strings.Join(flag.Envs, ", "), value, flag.Help)
		}
	}
	return page.String()
}
