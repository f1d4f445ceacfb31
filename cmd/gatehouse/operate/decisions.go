package operate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
	"github.com/molecule-ai/gatehouse/server/httpapi/resources"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// Decisions shows what was decided. It reads the database itself, and so works while the server is down.
type Decisions struct {
	List    decisionsListCommand    `cmd:"" help:"List decisions, newest first."`
	Show    decisionsShowCommand    `cmd:"" help:"Show all of one decision."`
	Summary decisionsSummaryCommand `cmd:"" help:"Count decisions by code: what was denied, and what would be if a rule were turned on."`
	Tail    decisionsTailCommand    `cmd:"" help:"Show decisions as they are recorded, until Ctrl-C."`
	Export  decisionsExportCommand  `cmd:"" help:"Write decisions for other tools: as OPA's decision logs, CSV or Parquet."`
}

type decisionsListCommand struct {
	flags.Database
	decisionFilterFlags
	timeFlags
	Limit  int    `env:"-" help:"How many at most, up to 1000." default:"50"`
	Cursor string `env:"-" help:"Continue a list: the cursor that its last page printed." placeholder:"CURSOR"`
	Input  bool   `env:"-" help:"With --output json: include the input that was evaluated."`
	cli.Form
}

// Run prints a page of decisions.
func (c *decisionsListCommand) Run(ctx context.Context, to cli.Streams) error {
	filter, err := c.filter()
	if err == nil {
		err = c.apply(&filter, time.Now())
	}
	if err != nil {
		return err
	}
	if c.Limit < 1 || c.Limit > resources.MaxPage {
		return fmt.Errorf("--limit is a number from 1 to %d", resources.MaxPage)
	}
	query := ledger.Query{Filter: filter, Limit: c.Limit}
	if c.Cursor != "" {
		query.After, err = resources.ParseID(c.Cursor)
		if err != nil {
			return errors.New("--cursor is not one that a list gave")
		}
	}
	return c.WithStore(ctx, func(store *flags.OpenStore) error {
		page, err := resources.ReadDecisionPage(ctx, store, query, c.Input)
		if err != nil {
			return err
		}
		return c.Write(to.Out, page, func(w io.Writer) error { return writeDecisions(w, page) })
	})
}

// decisionLine has columns of fixed width: tail prints line by line, and cannot align what comes later.
const decisionLine = "%-27s  %-9s  %-7s  %-32s  %-9s  %-36s  %s\n"

func writeDecisions(w io.Writer, page resources.DecisionPage) error {
	_, err := fmt.Fprintf(w, decisionLine, "TIME", "HOOK", "VERDICT", "CODE", "KIND", "WORKSPACE", "ID")
	for i := range page.Decisions {
		if err == nil {
			err = writeDecision(w, page.Decisions[i])
		}
	}
	if err != nil {
		return err
	}
	return cli.WriteMore(w, page.Next)
}

func writeDecision(w io.Writer, d resources.DecisionRecord) error {
	_, err := fmt.Fprintf(w, decisionLine, d.Time.Format("2006-01-02T15:04:05.000000Z07:00"), cli.Printable(d.Hook),
		verdictOf(d), cli.Printable(cmp.Or(d.Code, "-")), d.Kind, d.WorkspaceID, d.ID)
	return err
}

func verdictOf(d resources.DecisionRecord) string {
	switch {
	case d.Error != nil:
		return "error"
	case *d.Allowed:
		return "allow"
	case d.DryRun:
		return "dry run" // a deny that was answered as an allow
	default:
		return "deny"
	}
}

type decisionsShowCommand struct {
	flags.Database
	ID string `arg:"" help:"The decision, as list prints it and answers have it."`
	cli.Form
}

// Run prints one decision.
func (c *decisionsShowCommand) Run(ctx context.Context, to cli.Streams) error {
	id, err := resources.ParseID(c.ID)
	if err != nil {
		return fmt.Errorf("%s is no id of a decision", cli.Printable(c.ID))
	}
	return c.WithStore(ctx, func(store *flags.OpenStore) error {
		found, err := store.Decision(ctx, id)
		if err != nil {
			return err
		}
		record := resources.NewDecisionRecord(&found.Decision, true)
		return c.Write(to.Out, record, func(w io.Writer) error { return writeWholeDecision(w, record) })
	})
}

func writeWholeDecision(w io.Writer, record resources.DecisionRecord) error {
	var text strings.Builder
	describeDecision(&text, record)
	err := describeInput(&text, record)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, text.String())
	return err
}

func describeDecision(w *strings.Builder, d resources.DecisionRecord) {
	line := func(name, format string, values ...any) {
		fmt.Fprintf(w, "%-10s %s\n", name, cli.Printable(fmt.Sprintf(format, values...)))
	}
	line("decision", "%s", d.ID)
	line("time", "%s", d.Time.Format(time.RFC3339Nano))
	line("hook", "%s", d.Hook)
	if d.UID != "" {
		line("uid", "%s", d.UID)
	}
	line("caller", "%s, proved by %s", cmp.Or(d.Caller, "anybody"), d.CallerProof)
	if d.RequestID != "" {
		line("request", "%s", d.RequestID)
	}
	if d.TraceParent != "" {
		line("trace", "%s", d.TraceParent)
	}
	line("workspace", "%s (%s)", d.WorkspaceID, d.Kind)
	switch {
	case d.Error != nil:
		line("error", "%s: %s", d.Error.Code, d.Error.Detail)
	case *d.Allowed:
		line("verdict", "allowed")
	default:
		line("verdict", "denied: %s", d.Code)
	}
	if d.DryRun {
		line("dry run", "the server enforced nothing: it answered an allow")
	}
	if d.MarkedFailed {
		line("effect", "the workspace was marked failed")
	}
	if d.Event != nil {
		line("event", "%s: %s", d.Event.Event, d.Event.Payload.Error)
	}
	line("policies", "%s", d.PolicyRevision)
	line("took", "facts %d µs, policies %d µs", d.Timings.Facts, d.Timings.Policy)
	for _, v := range d.Violations {
		fmt.Fprintf(w, "  %-5s %-8s %s: %s\n", v.Enforcement, v.Severity, v.Code, v.Reason)
		fmt.Fprintf(w, "        %s\n        rule %s\n", cli.Printable(v.Message), v.Rule)
	}
}

func describeInput(w *strings.Builder, d resources.DecisionRecord) error {
	input := d.Input.Clone()
	err := input.Indent(jsontext.WithIndent("  "), jsontext.EscapeForJS(true))
	if err != nil {
		return fmt.Errorf("the recorded input: %w", err)
	}
	w.WriteString("input")
	for name, pointers := range map[string][]string{"erased": d.Erased, "masked": d.Masked} {
		if len(pointers) > 0 {
			fmt.Fprintf(w, ", %s: %s", name, cli.Printable(strings.Join(pointers, " ")))
		}
	}
	fmt.Fprintf(w, "\n%s\n", input)
	return nil
}

type decisionsSummaryCommand struct {
	flags.Database
	Since moment `env:"-" help:"From then on: a time (RFC 3339) or how long ago, like 24h." placeholder:"WHEN" default:"7d"`
	Until moment `env:"-" help:"Up to then." placeholder:"WHEN"`
	Hook  string `env:"-" help:"Only those of this hook." placeholder:"HOOK"`
	cli.Form
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
		return c.Write(to.Out, summary, func(w io.Writer) error { return writeSummary(w, filter, summary) })
	})
}

func writeSummary(w io.Writer, filter ledger.Filter, summary ledger.Summary) error {
	_, err := fmt.Fprintf(w, "since %s: %d decisions, %d allowed, %d denied, %d failed\n",
		filter.Since.UTC().Format(time.RFC3339), summary.Decisions, summary.Allowed, summary.Denied, summary.Failed)
	if err != nil || len(summary.Codes) == 0 {
		return err
	}
	table := cli.NewTable(w, "CODE", "HOOK", "ENFORCEMENT", "DECISIONS", "WOULD DENY", "WORKSPACES", "LAST", "EXAMPLE")
	for _, of := range summary.Codes {
		table.Row(cli.Printable(of.Code), of.Hook, of.Enforcement, of.Decisions, of.WouldDeny, of.Workspaces, of.Last.Format(time.RFC3339), of.Example)
	}
	return table.Flush()
}
