package operate

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

type decisionsSummaryCommand struct {
	flags.Database
	Since  moment `env:"-" help:"From then on: a time (RFC 3339) or how long ago, like 24h." placeholder:"WHEN" default:"7d"`
	Until  moment `env:"-" help:"Up to then." placeholder:"WHEN"`
	Hook   string `env:"-" help:"Only those of this hook." placeholder:"HOOK"`
	Output string `help:"Form of the answer." enum:"text,json" default:"text"`
}

// Run prints a summary.
func (c *decisionsSummaryCommand) Run(ctx context.Context, to cli.Streams) error {
	filter := ledger.Filter{Hook: c.Hook}
	err := timeFlags{Since: c.Since, Until: c.Until}.apply(&filter, time.Now())
	if err != nil {
		return err
	}
	return c.WithStore(ctx, func(store *flags.OpenStore) error {
		summary, err := store.Summarize(ctx, filter)
		if err != nil {
			return err
		}
		if c.Output == "json" {
			return cli.WriteJSON(to.Out, summary)
		}
		return writeSummary(to.Out, filter, summary)
	})
}

func writeSummary(w io.Writer, filter ledger.Filter, summary ledger.Summary) error {
	_, err := fmt.Fprintf(w, "since %s: %d decisions, %d allowed, %d denied, %d failed\n",
		filter.Since.UTC().Format(time.RFC3339), summary.Decisions, summary.Allowed, summary.Denied, summary.Failed)
	if err != nil || len(summary.Codes) == 0 {
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "CODE\tHOOK\tENFORCEMENT\tDECISIONS\tWOULD DENY\tWORKSPACES\tLAST\tEXAMPLE")
	for _, of := range summary.Codes {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\n", cli.Printable(of.Code), of.Hook, of.Enforcement,
			of.Decisions, of.WouldDeny, of.Workspaces, of.Last.Format(time.RFC3339), of.Example)
	}
	return table.Flush()
}
