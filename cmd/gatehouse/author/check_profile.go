package author

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"text/tabwriter"
	"time"

	"github.com/molecule-ai/gatehouse/adapters/opa/casetest"
	"github.com/molecule-ai/gatehouse/adapters/opa/explain"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
	policytests "github.com/molecule-ai/gatehouse/policies_test"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// profile evaluates the inputs of the case files, and without any the least that hooks are asked.
func (c *Check) profile(ctx context.Context, source snapshot.Source, rules *snapshot.Snapshot) (*explain.Profile, error) {
	cases, err := casetest.Load(c.cases(source), ".")
	if err != nil {
		return nil, fmt.Errorf("cases to profile: %w", err)
	}
	var inputs []admission.Input
	for _, one := range cases {
		inputs = append(inputs, one.Input())
	}
	profile, err := explain.Measure(ctx, rules, inputs, time.Now())
	if err != nil {
		return nil, fmt.Errorf("profiling: %w", err)
	}
	return &profile, nil
}

func (c *Check) cases(source snapshot.Source) fs.FS {
	switch {
	case c.Cases != "":
		return os.DirFS(c.Cases)
	case source.Name == flags.EmbeddedName:
		return policytests.FS
	default:
		return source.FS
	}
}

func printProfile(w io.Writer, profile explain.Profile) error {
	of := fmt.Sprintf("the inputs of %d cases", profile.Inputs)
	if profile.Rehearsal {
		of = "the least input of each hook, as there are no cases"
	}
	_, err := fmt.Fprintf(w, "\nCost over %s:\n", of)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "RULE\tPLACE\tEVALUATIONS\tTIME\tNEEDS THE ENGINE")
	for _, rule := range profile.Rules {
		_, _ = fmt.Fprintf(table, "%s\t%s:%d\t%d\t%.1f %%\t%s\n",
			rule.Rule, rule.File, rule.Row, rule.Evaluations, 100*rule.Share, needsEngine(rule))
	}
	err = table.Flush()
	if err != nil {
		return err
	}
	return printSlow(w, profile.Rules)
}

// needsEngine says nothing of rules that only others ask.
func needsEngine(rule explain.RuleCost) string {
	switch {
	case !rule.Entries:
		return "-"
	case rule.Engine == 0:
		return "never"
	default:
		return fmt.Sprintf("in %d of %d inputs", rule.Engine, rule.Inputs)
	}
}

func printSlow(w io.Writer, rules []explain.RuleCost) error {
	slow, partly := 0, 0
	for _, rule := range rules {
		switch {
		case rule.Slow():
			slow++
			_, err := fmt.Fprintf(w, "slow: %s (%s:%d) needs the engine for every input, and so every decision of its hooks does\n", rule.Rule, rule.File, rule.Row)
			if err != nil {
				return err
			}
		case rule.Engine > 0:
			partly++
		}
	}
	var err error
	if slow == 0 && partly == 0 {
		_, err = fmt.Fprintln(w, "No rule needs the engine: decisions are fast.")
	}
	return err
}
