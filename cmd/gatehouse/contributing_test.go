package main_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/molecule-ai/gatehouse/"

var (
	// Groups: regular expression, folders, table.
	filesOf  = regexp.MustCompile("(?s)<!-- files with: (.*?) in: (.*?) -->\n\n(.*?)\n\n")
	firstRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")
	// Groups: folders, what is there, what it may import.
	mapRow = regexp.MustCompile("(?m)^\\| (`[^|]+`) \\| ([^|]+) \\| ([^|]*) \\|$")
	quote  = regexp.MustCompile("`([^`]+)`")
)

// "How to add" lists the files that an example touches. The example is in the code: whoever greps for it
// finds the same files.
func TestContributingListsTheFilesOfItsExamples(t *testing.T) {
	t.Parallel()
	examples := filesOf.FindAllStringSubmatch(contributing(t), -1)
	require.Len(t, examples, 5)
	for _, example := range examples {
		var listed []string
		for _, row := range firstRow.FindAllStringSubmatch(example[3], -1) {
			listed = append(listed, row[1])
		}
		require.ElementsMatch(t, filesWith(t, regexp.MustCompile(example[1]), strings.Fields(example[2])), listed, example[1])
	}
}

func filesWith(t *testing.T, text *regexp.Regexp, folders []string) []string {
	t.Helper()
	var found []string
	for _, folder := range folders {
		require.NoError(t, filepath.WalkDir(filepath.Join(root, folder), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Base(path) == "contributing_test.go" {
				return err
			}
			content, err := os.ReadFile(path) //nolint:gosec // a file of this repository
			if text.Match(content) {
				name, _ := filepath.Rel(root, path)
				found = append(found, filepath.ToSlash(name))
			}
			return err
		}))
	}
	return found
}

// The map says for each folder which folders of Gatehouse it may import. All may import internal/, but not its
// helpers for tests.
func TestImportsFollowTheMap(t *testing.T) {
	t.Parallel()
	may := make(map[string][]string)
	_, section, _ := strings.Cut(contributing(t), "\n## The map\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, row := range mapRow.FindAllStringSubmatch(section, -1) {
		for _, folder := range quote.FindAllStringSubmatch(row[1], -1) {
			for _, other := range quote.FindAllStringSubmatch(row[3], -1) {
				may[folder[1]] = append(may[folder[1]], other[1])
			}
			may[folder[1]] = append(may[folder[1]], folder[1])
			require.DirExists(t, filepath.Join(root, folder[1]))
		}
	}
	require.Greater(t, len(may), 20)
	list := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...")
	list.Dir = root
	packages, err := list.Output()
	require.NoError(t, err)
	for line := range strings.Lines(string(packages)) {
		names := strings.Fields(strings.ReplaceAll(line, module, ""))
		at := rowOf(may, names[0])
		require.NotEmpty(t, at, "no row of the map is for %s", names[0])
		for _, other := range names[1:] {
			ours := strings.Contains(line, module+other)
			leaf := strings.HasPrefix(other, "internal/") && !strings.HasPrefix(other, "internal/testenv") && other != "internal/storetest"
			require.True(t, !ours || leaf || slices.ContainsFunc(may[at], func(folder string) bool { return isWithin(other, folder) }),
				"%s imports %s, which the map in CONTRIBUTING.md does not allow", names[0], other)
		}
	}
}

// rowOf is the row of the innermost folder.
func rowOf(may map[string][]string, name string) string {
	best := ""
	for folder := range may {
		if isWithin(name, folder) && len(folder) > len(best) {
			best = folder
		}
	}
	return best
}

func isWithin(name, folder string) bool { return name == folder || strings.HasPrefix(name, folder+"/") }

func contributing(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "CONTRIBUTING.md"))
	require.NoError(t, err)
	return string(text)
}
