package main_test

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

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
)

// With -update, pages take the outputs that their commands print now:
//
//	go test ./cmd/gatehouse -run TestDocs -update
var update = flag.Bool("update", false, "write what commands print into the pages")

const root = "../.."

// TestDocsPrintWhatTheySay follows the pages, in order. In a ```console block, lines that begin with "$ " are
// commands, the others are what they print; the demo server answers at 127.0.0.1:8181. A block with path=FILE
// behind its language is a file that the reader writes: a page with such blocks has a folder of its own, with
// a copy of the policies, and starts its own server with "$ ./bin/gatehouse serve … &". Between the comments
// "output of: COMMAND" and "end of output" is what a command prints, as part of the page.
func TestDocsPrintWhatTheySay(t *testing.T) {
	t.Parallel()
	for _, name := range pages(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			now := strings.ReplaceAll(newPage(t, string(text)).follow(), "\r\n", "\n") // as curl -i prints headers
			if *update {
				require.NoError(t, os.WriteFile(name, []byte(now), 0o644)) //nolint:gosec // a page is for everybody to read
				return
			}
			require.Equal(t, cmdtest.Normalize(string(text)), cmdtest.Normalize(now))
		})
	}
}

// pages are those of docs/ and those beside README.md.
func pages(t *testing.T) []string {
	t.Helper()
	docs, err := filepath.Glob(root + "/docs/*.md")
	require.NoError(t, err)
	others, err := filepath.Glob(root + "/*.md")
	require.NoError(t, err)
	return append(docs, others...)
}

var (
	// Groups: language, name of the file, text; or a command and its output.
	fenced  = regexp.MustCompile("(?s)```(\\w+)(?: path=(\\S+))?\n(.*?)```")
	quoted  = regexp.MustCompile("(?s)<!-- output of: ([^\n]*) -->\n(.*?)<!-- end of output -->")
	serving = regexp.MustCompile(`^\./bin/gatehouse serve (.*) &$`)
)

// page is one page while its reader follows it.
type page struct {
	t      *testing.T
	text   string
	folder string           // where its commands run
	gate   *cmdtest.Program // nil: none is running
}

func newPage(t *testing.T, text string) *page {
	p := &page{t: t, text: text, folder: root}
	consoles, files := 0, 0
	for _, block := range fenced.FindAllStringSubmatch(text, -1) {
		if block[1] == "console" {
			consoles++
		}
		if block[2] != "" {
			files++
		}
	}
	switch {
	case files > 0:
		p.folder = t.TempDir()
		for _, name := range []string{"policies", "policies_test", "docs/examples"} {
			require.NoError(t, os.CopyFS(filepath.Join(p.folder, name), os.DirFS(filepath.Join(root, name))))
		}
	case consoles > 0:
		p.gate = cmdtest.Start(t, "--demo").WaitReady()
	}
	return p
}

// follow gives the page with what its commands print now.
func (p *page) follow() string {
	followed := replaceGroups(fenced, p.text, func(block []string) string {
		switch {
		case block[1] == "console":
			return p.transcript(block[3])
		case block[2] != "":
			name := filepath.Join(p.folder, block[2])
			require.NoError(p.t, os.MkdirAll(filepath.Dir(name), 0o700))
			require.NoError(p.t, os.WriteFile(name, []byte(block[3]), 0o600))
		}
		return block[3]
	})
	return replaceGroups(quoted, followed, func(block []string) string { return p.shell(block[1]) })
}

// replaceGroups replaces the last group of every match.
func replaceGroups(form *regexp.Regexp, text string, with func(match []string) string) string {
	var replaced strings.Builder
	last := 0
	for _, match := range form.FindAllStringSubmatchIndex(text, -1) {
		groups := make([]string, len(match)/2)
		for i := range groups {
			if match[2*i] >= 0 {
				groups[i] = text[match[2*i]:match[2*i+1]]
			}
		}
		start, end := match[len(match)-2], match[len(match)-1]
		replaced.WriteString(text[last:start])
		replaced.WriteString(with(groups))
		last = end
	}
	replaced.WriteString(text[last:])
	return replaced.String()
}

// transcript runs the commands of a block and gives the block as it prints now.
func (p *page) transcript(block string) string {
	var now strings.Builder
	for line := range strings.Lines(block) {
		command, isCommand := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "$ ")
		if !isCommand {
			continue
		}
		now.WriteString(line)
		now.WriteString(p.shell(command))
	}
	return now.String()
}

func (p *page) shell(command string) string {
	if serve := serving.FindStringSubmatch(command); serve != nil {
		p.serve(strings.Fields(serve[1]))
		return ""
	}
	program, err := cmdtest.BuildProgram()
	require.NoError(p.t, err)
	address := "127.0.0.1:8181"
	if p.gate != nil {
		address = strings.TrimPrefix(p.gate.URL, "http://")
	}
	command = strings.NewReplacer("127.0.0.1:8181", address, "./bin/gatehouse", program).Replace(command)
	shell := exec.Command("bash", "-c", command)
	shell.Dir = p.folder
	var output bytes.Buffer
	shell.Stdout, shell.Stderr = &output, &output
	_ = shell.Run() // what a failing command prints is part of a page
	text := strings.NewReplacer(address, "127.0.0.1:8181", program, "./bin/gatehouse").Replace(output.String())
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text
}

// serve starts the page's server. Names of what is in the page's folder stay names of that.
func (p *page) serve(args []string) {
	for i, arg := range args {
		if name, isDatabase := strings.CutPrefix(arg, "sqlite:"); isDatabase {
			args[i] = "sqlite:" + filepath.Join(p.folder, name)
			continue
		}
		inFolder := filepath.Join(p.folder, arg)
		if _, err := os.Stat(inFolder); err == nil {
			args[i] = inFolder
		}
	}
	p.gate = cmdtest.Start(p.t, args...).WaitReady()
}

// Links between pages and into the tree must lead somewhere.
func TestDocsLinkToWhatIsThere(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, match := range link.FindAllStringSubmatch(string(text), -1) {
			require.FileExists(t, filepath.Join(filepath.Dir(page), match[1]), page)
		}
	}
}
