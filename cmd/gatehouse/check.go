package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/server/admission"
)

type checkCommand struct {
	givenPolicies
	Profile bool   `help:"Print what each rule costs, and which make decisions slow."`
	Cases   string `env:"-" help:"Directory of case files whose inputs --profile evaluates; by default the policies' own directory, or the embedded cases." placeholder:"DIR"`
	Output  string `help:"Form of the answer." enum:"text,json" default:"text"`
}

// checkAnswer is what check prints as JSON.
type checkAnswer struct {
	Source   string        `json:"source"`
	Revision string        `json:"revision,omitempty"`
	Hooks    []string      `json:"hooks,omitempty"`
	Rules    int           `json:"rules"`
	Problems []opa.Problem `json:"problems"`
	Profile  *opa.Profile  `json:"profile,omitempty"` // with --profile
	Remarks  []string      `json:"remarks"`
	// Weaker is how the policies hold less than the shipped ones.
	Weaker []admission.Weakness `json:"weaker_than_shipped"`
}

// Run compiles and type-checks the policies as serve would, and prints every error.
func (c *checkCommand) Run(ctx context.Context, to streams) error {
	schema, err := inputSchema()
	if err != nil {
		return err
	}
	source := c.source()
	answer := checkAnswer{Source: source.Name, Problems: []opa.Problem{}, Remarks: []string{}, Weaker: []admission.Weakness{}}
	snapshot, refused := opa.NewSnapshot(ctx, source, schema)
	if refused != nil {
		answer.Problems = diagnose(source, refused)
	} else {
		answer.Revision, answer.Hooks, answer.Rules = snapshot.Revision(), snapshot.Hooks(), len(snapshot.Rules())
		answer.Remarks = append(answer.Remarks, snapshot.Remarks()...)
		shipped, err := opa.NewSnapshot(ctx, embedded(), schema)
		if err != nil {
			return err
		}
		answer.Weaker = append(answer.Weaker, snapshot.WeakerThan(shipped)...)
	}
	if refused == nil && c.Profile {
		answer.Profile, err = c.profile(ctx, source, snapshot)
		if err != nil {
			return err
		}
	}
	switch {
	case c.Output == "json":
		err = printJSON(to.out, answer)
	case refused != nil:
		printProblems(to.err, answer.Problems)
	default:
		_, err = fmt.Fprintf(to.out, "%s: %d rules for %s, revision %s\n",
			answer.Source, answer.Rules, strings.Join(answer.Hooks, ", "), answer.Revision)
	}
	if err == nil && answer.Profile != nil && c.Output == "text" {
		err = printProfile(to.out, *answer.Profile)
	}
	if c.Output == "text" {
		printNotes(to.out, answer.Remarks, "weaker than shipped:", answer.Weaker)
	}
	if err == nil && refused != nil {
		return errSaid
	}
	return err
}

// printNotes prints what is no error: remarks, and how policies hold less than others.
func printNotes(w io.Writer, remarks []string, title string, weaker []admission.Weakness) {
	for _, remark := range remarks {
		_, _ = fmt.Fprintln(w, "note:", remark)
	}
	if len(weaker) > 0 {
		_, _ = fmt.Fprintln(w, title)
	}
	for _, one := range weaker {
		_, _ = fmt.Fprintln(w, " ", one)
	}
}

// diagnose takes an error apart that came of loading source. Files of a directory are called as the author
// calls them, so that an editor finds them.
func diagnose(source opa.Source, err error) []opa.Problem {
	problems := opa.Diagnose(err, source.FS)
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

// complain prints everything that is wrong with the policies of source.
func complain(to streams, source opa.Source, err error) error {
	printProblems(to.err, diagnose(source, err))
	return errSaid
}

// printPolicyErrors prints everything that is wrong with policies whose files are not at hand.
func printPolicyErrors(w io.Writer, err error) {
	printProblems(w, opa.Diagnose(err, nil))
}

// diagnoseFile takes an error apart that came of one file, by the name that it was read by.
func diagnoseFile(err error) []opa.Problem {
	return opa.Diagnose(err, anyFile{})
}

// anyFile opens files by the names that a user has given.
type anyFile struct{}

func (anyFile) Open(name string) (fs.File, error) { return os.Open(name) }

func printProblems(w io.Writer, problems []opa.Problem) {
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

func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}
