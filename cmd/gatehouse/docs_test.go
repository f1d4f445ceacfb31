package main

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// With -update, pages take the outputs that their commands print now:
//
//	go test ./cmd/gatehouse -run TestDocs -update
var update = flag.Bool("update", false, "write what commands print into the pages")

const root = "../.."

// TestDocsPrintWhatTheySay runs every ```console block of the pages, in order, against the demo server: lines
// that begin with "$ " are commands, the others are what they print.
func TestDocsPrintWhatTheySay(t *testing.T) {
	pages, err := filepath.Glob(root + "/docs/*.md")
	require.NoError(t, err)
	for _, page := range append(pages, root+"/README.md") {
		t.Run(filepath.Base(page), func(t *testing.T) {
			text, err := os.ReadFile(page)
			require.NoError(t, err)
			blocks := consoleBlock.FindAllStringSubmatchIndex(string(text), -1)
			if len(blocks) == 0 {
				return
			}
			gate := start(t, "--demo").waitReady()
			var rewritten strings.Builder
			last := 0
			for _, block := range blocks {
				rewritten.Write(text[last:block[2]])
				rewritten.WriteString(gate.transcript(string(text[block[2]:block[3]])))
				last = block[3]
			}
			rewritten.Write(text[last:])
			if *update {
				require.NoError(t, os.WriteFile(page, []byte(rewritten.String()), 0o644)) //nolint:gosec // a page is for everybody to read
				return
			}
			require.Equal(t, normalize(string(text)), normalize(rewritten.String()))
		})
	}
}

var consoleBlock = regexp.MustCompile("(?s)```console\n(.*?)```")

// transcript runs the commands of a block and gives the block as it prints now.
func (p *program) transcript(block string) string {
	var now strings.Builder
	for line := range strings.Lines(block) {
		command, isCommand := strings.CutPrefix(line, "$ ")
		if !isCommand {
			continue
		}
		now.WriteString(line)
		now.WriteString(p.shell(command))
	}
	return now.String()
}

func (p *program) shell(command string) string {
	program, err := buildProgram()
	require.NoError(p.t, err)
	address := strings.TrimPrefix(p.url, "http://")
	command = strings.NewReplacer("127.0.0.1:8181", address, "./bin/gatehouse", program).Replace(command)
	shell := exec.Command("bash", "-c", command)
	shell.Dir = root
	var output bytes.Buffer
	shell.Stdout, shell.Stderr = &output, &output
	_ = shell.Run() // what a failing command prints is part of a page
	text := strings.NewReplacer(address, "127.0.0.1:8181", program, "./bin/gatehouse").Replace(output.String())
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text
}

// What differs from run to run is compared by its form.
var volatile = []struct {
	form *regexp.Regexp
	name string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`), "<uuidv7>"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "<time>"},
	{regexp.MustCompile(`sha256:[0-9a-f]{16}`), "<revision>"},
	{regexp.MustCompile(`(?m)^(Date): .*$`), "$1: <date>"},
	{regexp.MustCompile(`(?m)^retry: \d+$`), "retry: <jitter>"},
}

func normalize(text string) string {
	for _, v := range volatile {
		text = v.form.ReplaceAllString(text, v.name)
	}
	return strings.ReplaceAll(text, "\r\n", "\n")
}

// Links between pages and into the tree must lead somewhere.
func TestDocsLinkToWhatIsThere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	pages, err := filepath.Glob(root + "/docs/*.md")
	require.NoError(t, err)
	for _, page := range append(pages, root+"/README.md") {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, match := range link.FindAllStringSubmatch(string(text), -1) {
			require.FileExists(t, filepath.Join(filepath.Dir(page), match[1]), page)
		}
	}
}
