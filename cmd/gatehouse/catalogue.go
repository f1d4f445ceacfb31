package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// policiesCommand is what there is to do with policies as a whole.
type policiesCommand struct {
	List    policiesListCommand    `cmd:"" default:"withargs" help:"The catalogue of rules, from their annotations."`
	Diff    policiesDiffCommand    `cmd:"" help:"What the candidate policies (serve --shadow-policies) would change, with examples."`
	Promote policiesPromoteCommand `cmd:"" help:"Make the candidate policies of servers live."`
}

type policiesListCommand struct {
	policyFlags
	Output string `help:"Form of the answer." enum:"text,json,markdown" default:"text"`
}

// catalogueEntry is a rule with the hooks that it guards.
type catalogueEntry struct {
	admission.Rule
	Hooks []string `json:"hooks"`
}

// Run lists the rules of policies that pass their checks.
func (c *policiesListCommand) Run(ctx context.Context, to streams) error {
	schema, err := inputSchema()
	if err != nil {
		return err
	}
	source := c.source()
	snapshot, err := opa.NewSnapshot(ctx, source, schema)
	if err != nil {
		return complain(to, source, err)
	}
	entries := make([]catalogueEntry, 0, len(snapshot.Rules()))
	for _, rule := range snapshot.Rules() {
		entries = append(entries, catalogueEntry{rule, snapshot.HooksOf(rule)})
	}
	switch c.Output {
	case "json":
		return printJSON(to.out, map[string]any{"source": snapshot.Source(), "revision": snapshot.Revision(), "rules": entries})
	case "markdown":
		return writeCatalogueMarkdown(to.out, entries)
	default:
		return writeCatalogue(to.out, entries)
	}
}

func writeCatalogue(w io.Writer, entries []catalogueEntry) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "RULE\tCODE\tSEVERITY\tSTATUS\tMARKS\tHOOKS\tAT\tTITLE")
	for _, e := range entries {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\t%s\t%s:%d\t%s\n", e.Name, e.Code, e.Severity, e.Status,
			yesOrNo(e.MarkFailed), strings.Join(e.Hooks, ","), e.File, e.Row, e.Title)
	}
	return table.Flush()
}

// writeCatalogueMarkdown leaves out where rules are: the page must not change with every line of a file.
func writeCatalogueMarkdown(w io.Writer, entries []catalogueEntry) error {
	_, err := fmt.Fprintln(w, "| rule | code | severity | status | marks failed | hooks | what it asks |\n|---|---|---|---|---|---|---|")
	for _, e := range entries {
		_, err = fmt.Fprintf(w, "| `%s` | `%s` | %s | %d | %s | %s | %s |\n", e.Name, e.Code, e.Severity, e.Status,
			yesOrNo(e.MarkFailed), strings.Join(e.Hooks, ", "), cell(cmp.Or(e.Title, e.Description)))
	}
	return err
}

// cell is text that stays in its cell.
func cell(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
}

func yesOrNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}
