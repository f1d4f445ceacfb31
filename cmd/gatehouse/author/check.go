// Package author has the commands of those who write policies.
package author

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/molecule-ai/gatehouse/adapters/opa/check"
	"github.com/molecule-ai/gatehouse/adapters/opa/explain"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
	"github.com/molecule-ai/gatehouse/server/admission"
)

type Check struct {
	flags.GivenPolicySource
	Profile bool   `help:"Print what each rule costs, and which make decisions slow."`
	Cases   string `env:"-" help:"Directory of case files whose inputs --profile evaluates; by default the policies' own directory, or the embedded cases." placeholder:"DIR"`
	Output  string `help:"Form of the answer." enum:"text,json" default:"text"`
}

// CheckAnswer is what check prints as JSON.
type CheckAnswer struct {
	Source   string           `json:"source"`
	Revision string           `json:"revision,omitempty"`
	Hooks    []string         `json:"hooks,omitempty"`
	Rules    int              `json:"rules"`
	Problems []check.Problem  `json:"problems"`
	Profile  *explain.Profile `json:"profile,omitempty"` // with --profile
	Remarks  []string         `json:"remarks"`
	// Weaker is how the policies hold less than the shipped ones.
	Weaker []admission.Weakness `json:"weaker_than_shipped"`
}

// Run compiles and type-checks the policies as serve would, and prints every error.
func (c *Check) Run(ctx context.Context, to cli.Streams) error {
	source := c.Source()
	answer := CheckAnswer{Source: source.Name, Problems: []check.Problem{}, Remarks: []string{}, Weaker: []admission.Weakness{}}
	rules, refused := snapshot.New(ctx, source, flags.InputSchema())
	var err error
	if refused != nil {
		answer.Problems = flags.Diagnose(source, refused)
	} else {
		err = c.describe(ctx, &answer, source, rules)
	}
	if err == nil && c.Output == "json" {
		err = cli.PrintJSON(to.Out, answer)
	} else if err == nil {
		err = answer.write(to)
	}
	if err == nil && refused != nil {
		return cli.ErrSaid
	}
	return err
}

// describe says of policies that pass their checks what they are.
func (c *Check) describe(ctx context.Context, answer *CheckAnswer, source snapshot.Source, rules *snapshot.Snapshot) error {
	answer.Revision, answer.Hooks, answer.Rules = rules.Revision(), rules.Hooks(), len(rules.Rules())
	answer.Remarks = append(answer.Remarks, rules.Remarks()...)
	shipped, err := snapshot.New(ctx, flags.Embedded(), flags.InputSchema())
	if err != nil {
		return err
	}
	answer.Weaker = append(answer.Weaker, rules.WeakerThan(shipped)...)
	if c.Profile {
		answer.Profile, err = c.profile(ctx, source, rules)
	}
	return err
}

func (answer CheckAnswer) write(to cli.Streams) error {
	if len(answer.Problems) > 0 {
		flags.PrintProblems(to.Err, answer.Problems)
		return nil
	}
	_, err := fmt.Fprintf(to.Out, "%s: %d rules for %s, revision %s\n",
		answer.Source, answer.Rules, strings.Join(answer.Hooks, ", "), answer.Revision)
	if err == nil && answer.Profile != nil {
		err = printProfile(to.Out, *answer.Profile)
	}
	printNotes(to.Out, answer.Remarks, "weaker than shipped:", answer.Weaker)
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
