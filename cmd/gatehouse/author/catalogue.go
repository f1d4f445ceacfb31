package author

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// Policies is what there is to do with policies as a whole.
type Policies struct {
	List    policiesListCommand    `cmd:"" default:"withargs" help:"The catalogue of rules, from their annotations."`
	Diff    policiesDiffCommand    `cmd:"" help:"What the candidate policies (serve --shadow-policies) would change, with examples."`
	Promote policiesPromoteCommand `cmd:"" help:"Make the candidate policies of servers live."`
}

type policiesListCommand struct {
	flags.PolicySource
	Output string `help:"Form of the answer." enum:"text,json,markdown" default:"text"`
}

// CatalogueEntry is a rule with the hooks that it guards.
type CatalogueEntry struct {
	admission.Rule
	Hooks []string `json:"hooks"`
}

// Run lists the rules of policies that pass their checks.
func (c *policiesListCommand) Run(ctx context.Context, to cli.Streams) error {
	rules, err := c.Load(ctx, to)
	if err != nil {
		return err
	}
	entries := make([]CatalogueEntry, 0, len(rules.Rules()))
	for _, rule := range rules.Rules() {
		entries = append(entries, CatalogueEntry{rule, rules.HooksOf(rule)})
	}
	switch c.Output {
	case "json":
		return cli.PrintJSON(to.Out, map[string]any{"source": rules.Source(), "revision": rules.Revision(), "rules": entries})
	case "markdown":
		return writeCatalogueMarkdown(to.Out, entries)
	default:
		return writeCatalogue(to.Out, entries)
	}
}

func writeCatalogue(w io.Writer, entries []CatalogueEntry) error {
	table := cli.NewTable(w, "RULE", "CODE", "SEVERITY", "STATUS", "MARKS", "HOOKS", "AT", "TITLE")
	for _, e := range entries {
		table.Row(e.Name, e.Code, e.Severity, e.Status, cli.YesOrNo(e.MarkFailed), strings.Join(e.Hooks, ","), fmt.Sprintf("%s:%d", e.File, e.Row), e.Title)
	}
	return table.Flush()
}

// writeCatalogueMarkdown leaves out where rules are: the page must not change with every line of a file.
func writeCatalogueMarkdown(w io.Writer, entries []CatalogueEntry) error {
	_, err := fmt.Fprintln(w, "| rule | code | severity | status | marks failed | hooks | what it asks |\n|---|---|---|---|---|---|---|")
	for _, e := range entries {
		_, err = fmt.Fprintf(w, "| `%s` | `%s` | %s | %d | %s | %s | %s |\n", e.Name, e.Code, e.Severity, e.Status,
			cli.YesOrNo(e.MarkFailed), strings.Join(e.Hooks, ", "), cell(cmp.Or(e.Title, e.Description)))
	}
	return err
}

// cell is text that stays in its cell.
func cell(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
}
