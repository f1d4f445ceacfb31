package flags

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/molecule-ai/gatehouse/adapters/opa/check"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
)

// Diagnose takes an error apart that came of loading source. Files of a directory are called as the author
// calls them, so that an editor finds them.
func Diagnose(source snapshot.Source, err error) []check.Problem {
	problems := check.Diagnose(err, source.FS)
	info, missing := os.Stat(source.Name)
	if missing != nil || !info.IsDir() {
		return problems
	}
	for i := range problems {
		if problems[i].File != "" {
			problems[i].File = filepath.Join(source.Name, problems[i].File)
		}
	}
	return problems
}

// Load compiles and checks the policies of the flags. What is wrong with them is printed.
func (f PolicySource) Load(ctx context.Context, to cli.Streams) (*snapshot.Snapshot, error) {
	schema := InputSchema()
	source := f.Source()
	rules, err := snapshot.New(ctx, source, schema)
	if err != nil {
		return nil, Complain(to, source, err)
	}
	return rules, nil
}

// Complain prints everything that is wrong with the policies of source.
func Complain(to cli.Streams, source snapshot.Source, err error) error {
	PrintProblems(to.Err, Diagnose(source, err))
	return cli.ErrSaid
}

// PrintPolicyErrors prints everything that is wrong with policies whose files cannot be read here.
func PrintPolicyErrors(w io.Writer, err error) {
	PrintProblems(w, check.Diagnose(err, nil))
}

// DiagnoseFile takes an error apart that came of one file, by the name that it was read by.
func DiagnoseFile(err error) []check.Problem {
	return check.Diagnose(err, anyFile{})
}

// anyFile opens files by the names that a user has given.
type anyFile struct{}

func (anyFile) Open(name string) (fs.File, error) { return os.Open(name) }

func PrintProblems(w io.Writer, problems []check.Problem) {
	for _, problem := range problems {
		switch {
		case problem.File != "" && problem.Row == 0:
			_, _ = fmt.Fprintf(w, "%s: ", problem.File)
		case problem.File != "":
			_, _ = fmt.Fprintf(w, "%s:%d:%d: ", problem.File, problem.Row, problem.Column)
		}
		if problem.Code != "" {
			_, _ = fmt.Fprintf(w, "%s: ", problem.Code)
		}
		_, _ = fmt.Fprintln(w, strings.ReplaceAll(problem.Message, "\n", "\n\t"))
		if problem.Line != "" {
			_, _ = fmt.Fprintf(w, "\t%s\n\t%s^\n", problem.Line, indentTo(problem.Line, problem.Column))
		}
	}
}

// indentTo is white space as wide as what lies before a column of a line: its tabs stay tabs.
func indentTo(line string, column int) string {
	before := line[:max(0, min(column-1, len(line)))]
	return strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(before, ""))
}
