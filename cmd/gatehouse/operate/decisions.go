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
	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
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

// decisionFilterFlags select decisions.
type decisionFilterFlags struct {
	Hook      string `env:"-" help:"Only those of this hook." placeholder:"HOOK"`
	Verdict   string `env:"-" help:"Only those that came out so: allow, deny, error." enum:",allow,deny,error" default:""`
	Code      string `env:"-" help:"Only those that were denied with this code, or answered with this error." placeholder:"CODE"`
	Workspace string `env:"-" help:"Only those of this workspace." placeholder:"ID"`
	UID       string `env:"-" name:"uid" help:"Only those of the request with this uid." placeholder:"UID"`
}

func (f decisionFilterFlags) filter() (ledger.Filter, error) {
	filter := ledger.Filter{Hook: f.Hook, Code: f.Code, UID: f.UID}
	switch f.Verdict {
	case "allow", "deny":
		filter.Allowed = new(f.Verdict == "allow")
	case "error":
		filter.Failed = new(true)
	}
	if f.Workspace == "" {
		return filter, nil
	}
	var err error
	filter.WorkspaceID, err = decode.ParseWorkspaceID(f.Workspace)
	if err != nil {
		return filter, fmt.Errorf("--workspace: %w", err)
	}
	return filter, nil
}

// timeFlags select a span of time.
type timeFlags struct {
	Since moment `env:"-" help:"From then on: a time (RFC 3339) or how long ago, like 24h." placeholder:"WHEN"`
	Until moment `env:"-" help:"Up to then." placeholder:"WHEN"`
}

func (f timeFlags) apply(filter *ledger.Filter, now time.Time) error {
	var err error
	filter.Since, err = f.Since.at(now)
	if err != nil {
		return fmt.Errorf("--since: %w", err)
	}
	filter.Until, err = f.Until.at(now)
	if err != nil {
		return fmt.Errorf("--until: %w", err)
	}
	return nil
}

type decisionsListCommand struct {
	flags.Database
	decisionFilterFlags
	timeFlags
	Limit  int    `env:"-" help:"How many at most, up to 1000." default:"50"`
	Cursor string `env:"-" help:"Go on where a list ended." placeholder:"CURSOR"`
	Input  bool   `env:"-" help:"With --output json: with what was evaluated."`
	Output string `help:"Form of the answer." enum:"text,json" default:"text"`
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
		if c.Output == "json" {
			return cli.WriteJSON(to.Out, page)
		}
		return writeDecisions(to.Out, page)
	})
}

// A line of the table is written at once, because tail has no last one.
const decisionLine = "%-27s  %-9s  %-7s  %-32s  %-9s  %-36s  %s\n"

func writeDecisions(w io.Writer, page resources.DecisionPage) error {
	_, err := fmt.Fprintf(w, decisionLine, "TIME", "HOOK", "VERDICT", "CODE", "KIND", "WORKSPACE", "ID")
	for i := range page.Decisions {
		if err == nil {
			err = writeDecision(w, page.Decisions[i])
		}
	}
	if err == nil && page.Next != "" {
		_, err = fmt.Fprintf(w, "more: --cursor %s\n", page.Next)
	}
	return err
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
	ID     string `arg:"" help:"The decision, as list prints it and answers have it."`
	Output string `help:"Form of the answer." enum:"text,json" default:"text"`
}

// Run prints one decision.
func (c *decisionsShowCommand) Run(ctx context.Context, to cli.Streams) error {
	id, err := resources.ParseID(c.ID)
	if err != nil {
		return fmt.Errorf("%s is no id of a decision", cli.Printable(c.ID))
	}
	return c.WithStore(ctx, func(store *flags.OpenStore) error {
		return showDecision(ctx, to.Out, store, id, c.Output)
	})
}

func showDecision(ctx context.Context, w io.Writer, store resources.DecisionReader, id uuid.UUID, output string) error {
	found, err := store.Decision(ctx, id)
	if err != nil {
		return err
	}
	record := resources.NewDecisionRecord(&found.Decision, true)
	if output == "json" {
		return cli.WriteJSON(w, record)
	}
	var text strings.Builder
	describeDecision(&text, record)
	err = describeInput(&text, record)
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
