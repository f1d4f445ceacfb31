package author

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/molecule-ai/gatehouse/adapters/opa/casetest"
	"github.com/molecule-ai/gatehouse/adapters/opa/explain"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
	policytests "github.com/molecule-ai/gatehouse/policies_test"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// profile evaluates the inputs of the case files, and without any the least that hooks are asked.
func (c *Check) profile(ctx context.Context, source snapshot.Source, rules *snapshot.Snapshot) (*explain.Profile, error) {
	cases, err := casetest.Load(testFiles(c.Cases, source), ".")
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

// testFiles are the tests and cases in a folder, or, where none is given, those that are beside the policies.
func testFiles(folder string, source snapshot.Source) fs.FS {
	switch {
	case folder != "":
		return os.DirFS(folder)
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
	table := cli.NewTable(w, "RULE", "PLACE", "EVALUATIONS", "TIME", "NEEDS THE ENGINE")
	for _, rule := range profile.Rules {
		table.Row(rule.Rule, fmt.Sprintf("%s:%d", rule.File, rule.Row), rule.Evaluations, fmt.Sprintf("%.1f %%", 100*rule.Share), needsEngine(rule))
	}
	err = table.Flush()
	if err != nil {
		return err
	}
	return printSlow(w, profile.Rules)
}

// needsEngine is - for rules that only other rules ask.
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

func printSlow(w io.Writer, rules []explain.RuleCost) (err error) {
	fast := true
	for _, rule := range rules {
		fast = fast && rule.Engine == 0
		if err == nil && rule.Slow() {
			_, err = fmt.Fprintf(w, "slow: %s (%s:%d) needs the engine for every input, and so every decision of its hooks does\n", rule.Rule, rule.File, rule.Row)
		}
	}
	if fast {
		_, err = fmt.Fprintln(w, "No rule needs the engine: decisions are fast.")
	}
	return err
}
