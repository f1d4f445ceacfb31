package author

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/molecule-ai/gatehouse/adapters/opa/casetest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
)

type Test struct {
	flags.GivenPolicySource
	Tests     string  `help:"Directory of Rego tests and case files; by default the policies' own directory, or the embedded tests." placeholder:"DIR"`
	Filter    string  `env:"-" name:"run" help:"Only tests whose package and name, and cases whose file and name, match." placeholder:"REGEX"`
	Coverage  bool    `help:"Print the coverage of every file."`
	Threshold float64 `help:"Least coverage of the policies, in percent of lines; with --run there is none." default:"95"`
	Verbose   bool    `help:"Print what passes, too." short:"v"`
	Output    string  `help:"Form of the answer." enum:"text,json,junit" default:"text"`
}

// Run runs what there is of tests, and fails when one fails, when there are none, or when too little of the
// policies was reached.
func (c *Test) Run(ctx context.Context, to cli.Streams) error {
	schema := flags.InputSchema()
	options := casetest.Options{Explain: c.Output == "text"}
	if c.Filter != "" {
		run, err := regexp.Compile(c.Filter)
		if err != nil {
			return fmt.Errorf("--run: %w", err)
		}
		options.Run = run
	}
	source := c.Source()
	report, err := casetest.Run(ctx, source, testFiles(c.Tests, source), schema, options)
	if err != nil {
		return flags.Complain(to, source, err)
	}
	switch c.Output {
	case "json":
		err = cli.PrintJSON(to.Out, testAnswerOf(report))
	case "junit":
		err = writeJUnit(to.Out, report)
	default:
		c.write(to.Out, report)
	}
	return errors.Join(err, c.conclude(report))
}

// conclude says whether all is well.
func (c *Test) conclude(report casetest.Report) error {
	if len(report.Results)+len(report.Cases) == 0 {
		if c.Filter != "" {
			return fmt.Errorf("no test matches --run %s", c.Filter)
		}
		return errors.New("no tests: neither _test.rego files nor case files")
	}
	if c.Filter == "" && report.Coverage < c.Threshold {
		return fmt.Errorf("coverage %.1f %% is below the threshold of %g %%", report.Coverage, c.Threshold)
	}
	if failures(report) > 0 {
		return cli.ErrSaid
	}
	return nil
}

func failures(report casetest.Report) int {
	failed := len(report.Failed())
	for _, result := range report.Cases {
		if len(result.Problems) > 0 {
			failed++
		}
	}
	return failed
}

func (c *Test) write(w io.Writer, report casetest.Report) {
	for _, result := range report.Results {
		if result.Pass() {
			c.pass(w, result.Package+"."+result.Name)
			continue
		}
		_, _ = fmt.Fprintf(w, "%s %s.%s\n", outcome(result), result.Package, result.Name)
		writeIndented(w, detail(result))
	}
	for _, result := range report.Cases {
		if len(result.Problems) == 0 {
			c.pass(w, result.Case.File+": "+result.Case.Name)
			continue
		}
		_, _ = fmt.Fprintf(w, "FAIL %s: %s\n", result.Case.File, result.Case.Name)
		writeIndented(w, detailOfCase(result))
	}
	below := c.Filter == "" && report.Coverage < c.Threshold
	if c.Coverage {
		for _, file := range report.Files {
			_, _ = fmt.Fprintf(w, "%5.1f %% %s%s\n", file.Percent, file.File, rows(file.Missed))
		}
	} else if below {
		for _, line := range report.Missed {
			_, _ = fmt.Fprintf(w, "not covered: %s\n", line)
		}
	}
	covered := ""
	if c.Filter == "" || c.Coverage {
		covered = fmt.Sprintf("; %.1f %% of lines covered", report.Coverage)
	}
	skipped := ""
	if count := len(report.Skipped()); count > 0 {
		skipped = fmt.Sprintf(", %d skipped", count)
	}
	_, _ = fmt.Fprintf(w, "%d Rego tests, %d cases, %d failed%s%s\n",
		len(report.Results), len(report.Cases), failures(report), skipped, covered)
}

func (c *Test) pass(w io.Writer, name string) {
	if c.Verbose {
		_, _ = fmt.Fprintf(w, "pass %s\n", name)
	}
}

func writeIndented(w io.Writer, text string) {
	for line := range strings.Lines(text) {
		_, _ = fmt.Fprint(w, "       ", strings.TrimRight(line, " \n"), "\n")
	}
}

// rows names rows of a file that no test reached.
func rows(missed []int) string {
	if len(missed) == 0 {
		return ""
	}
	return ", not: " + strings.Trim(strings.ReplaceAll(fmt.Sprint(missed), " ", ", "), "[]")
}

func outcome(result *tester.Result) string {
	switch {
	case result.Error != nil:
		return "ERROR"
	case result.Skip:
		return "SKIP"
	case result.Fail:
		return "FAIL"
	default:
		return "pass"
	}
}

// detail says where a Rego test is, where it failed, and what it printed.
func detail(result *tester.Result) string {
	var text strings.Builder
	if result.Location != nil {
		_, _ = fmt.Fprintf(&text, "%s:%d\n", result.Location.File, result.Location.Row)
	}
	if result.Error != nil {
		_, _ = fmt.Fprintln(&text, result.Error)
	}
	for name, sub := range result.SubResults.Iter {
		if sub.Fail && len(sub.SubResults) == 0 {
			_, _ = fmt.Fprintf(&text, "of %s\n", strings.Join(name, ", "))
			writeFailedAt(&text, sub.Trace)
		}
	}
	if len(result.SubResults) == 0 {
		writeFailedAt(&text, result.Trace)
	}
	if len(result.Output) > 0 {
		_, _ = fmt.Fprintf(&text, "it printed:\n%s", result.Output)
	}
	return text.String()
}

// writeFailedAt prints the expression of a test that failed, with the values that it had.
func writeFailedAt(w io.Writer, trace []*topdown.Event) {
	for i := len(trace) - 1; i >= 0; i-- {
		event := trace[i]
		_, isExpr := event.Node.(*ast.Expr)
		if event.Op == topdown.FailOp && isExpr && event.Location != nil && event.QueryID != 0 {
			_, _ = fmt.Fprintf(w, "failed at %s:%d:\n", event.Location.File, event.Location.Row)
			_ = topdown.PrettyEvent(w, event, topdown.PrettyEventOpts{PrettyVars: true})
			_, _ = fmt.Fprintln(w)
			return
		}
	}
}

// detailOfCase shows how a case differs from what it expects, and why the rules that it expects did not fire.
func detailOfCase(result casetest.CaseResult) string {
	var text strings.Builder
	for _, problem := range result.Problems {
		_, _ = fmt.Fprintln(&text, problem)
	}
	for _, missing := range result.Missing {
		_, _ = fmt.Fprintf(&text, "%s did not fire:\n", missing.Rule.Name)
		writeReasons(&text, missing.Why, "  ")
	}
	if result.Trace != "" {
		_, _ = fmt.Fprintf(&text, "its way to what failed:\n%s", result.Trace)
	}
	return text.String()
}
