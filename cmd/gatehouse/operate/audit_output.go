package operate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
	"github.com/molecule-ai/gatehouse/server/audit"
	"github.com/molecule-ai/gatehouse/server/httpapi/resources"
)

// AuditReport is what an audit found, with examples of workspaces that a code is the first thing to say of.
type AuditReport struct {
	Audit    resources.AuditReport      `json:"audit"`
	Examples map[string][]audit.Finding `json:"examples"`
}

// newAuditReport reads the first workspaces of each code.
func newAuditReport(ctx context.Context, store resources.AuditReader, run audit.Run, examples int) (AuditReport, error) {
	report := AuditReport{Audit: resources.NewAuditReport(run), Examples: make(map[string][]audit.Finding)}
	if examples == 0 {
		return report, nil
	}
	for code := range run.Violations {
		found, err := store.AuditFindings(ctx, audit.Query{RunID: run.ID, Code: code, Limit: examples})
		if err != nil {
			return AuditReport{}, err
		}
		if len(found) > 0 {
			report.Examples[code] = found
		}
	}
	return report, nil
}

func (report AuditReport) write(w io.Writer) error {
	run := report.Audit
	_, _ = fmt.Fprintf(w, "audit %s of %s, policies %s: %s after %s\n", run.ID, run.StartedAt.Format(time.RFC3339),
		policiesOf(run.Run), run.State, run.Worked.Round(time.Millisecond))
	if run.Deployment != nil {
		_, _ = fmt.Fprintf(w, "saas %s, facts query %s\n", saasOf(run.Run), run.FactsRevision)
	}
	_, err := fmt.Fprintf(w, "%d workspaces: %s, %d warned of, %d without a verdict\n",
		run.Evaluated, deniedWord(run.Run), run.Warned, run.Failed)
	for _, rule := range run.NotJudged {
		_, err = fmt.Fprintf(w, "not judged: %s (%s) reads %s\n", rule.Rule, rule.Code, strings.Join(rule.Reads, ", "))
	}
	if err != nil || len(run.Violations) == 0 {
		return err
	}
	_, _ = fmt.Fprintln(w)
	table := cli.NewTable(w, "CODE", "WORKSPACES")
	for _, code := range cli.ByCount(run.Violations) {
		row := []any{code, run.Violations[code]}
		if examples := report.Examples[code]; len(examples) > 0 {
			row = append(row, "as "+named(examples))
		}
		table.Row(row...)
	}
	return table.Flush()
}

func policiesOf(run audit.Run) string {
	if run.Candidate {
		return run.Revision + " (candidate)"
	}
	return run.Revision
}

// saasOf is - for runs that were recorded without their deployment.
func saasOf(run audit.Run) string {
	if run.Deployment == nil {
		return "-"
	}
	return cli.YesOrNo(run.Deployment.SaaS)
}

func named(findings []audit.Finding) string {
	ids := make([]string, len(findings))
	for i, f := range findings {
		ids[i] = f.WorkspaceID.String()
	}
	return strings.Join(ids, ", ")
}

func deniedWord(run audit.Run) string {
	if run.Enforce {
		return fmt.Sprintf("%d denied (%d marked failed now)", run.Denied, run.Marked)
	}
	return fmt.Sprintf("%d would be denied", run.Denied)
}

type auditListCommand struct {
	flags.Database
	cli.Form
}

// Run lists the audits that are kept.
func (c *auditListCommand) Run(ctx context.Context, to cli.Streams) error {
	return c.WithStore(ctx, func(store *flags.OpenStore) error {
		runs, err := store.Audits(ctx, audit.Most)
		if err != nil {
			return err
		}
		return c.Write(to.Out, resources.NewAuditList(runs), func(w io.Writer) error { return writeAuditList(w, runs) })
	})
}

func writeAuditList(w io.Writer, runs []audit.Run) error {
	table := cli.NewTable(w, "ID", "STARTED", "STATE", "ENFORCES", "WORKSPACES", "DENIED", "WARNED", "FAILED", "MARKED", "WORKED", "SAAS", "POLICIES")
	for _, run := range runs {
		table.Row(run.ID, run.StartedAt.Format(time.RFC3339), run.State, cli.YesOrNo(run.Enforce), run.Evaluated, run.Denied, run.Warned,
			run.Failed, run.Marked, run.Worked.Round(time.Millisecond), saasOf(run), policiesOf(run))
	}
	return table.Flush()
}

type auditShowCommand struct {
	flags.Database
	Audit  string `arg:"" optional:"" help:"Id of the audit, as list prints it; the last one if it is left out."`
	Code   string `env:"-" help:"Only workspaces with this code." placeholder:"CODE"`
	Limit  int    `env:"-" help:"How many workspaces at most, up to 1000." default:"50"`
	Cursor string `env:"-" help:"Continue a list: the cursor that its last page printed." placeholder:"CURSOR"`
	cli.Form
}

// Run shows an audit and a page of what it found.
func (c *auditShowCommand) Run(ctx context.Context, to cli.Streams) error {
	if c.Limit < 1 || c.Limit > resources.MaxPage {
		return fmt.Errorf("--limit is not a number from 1 to %d", resources.MaxPage)
	}
	after := uuid.Nil
	if c.Cursor != "" {
		var err error
		after, err = uuid.Parse(c.Cursor)
		if err != nil {
			return errors.New("--cursor is not one that a page gave")
		}
	}
	return c.WithStore(ctx, func(store *flags.OpenStore) error {
		run, err := c.find(ctx, store)
		if err != nil {
			return err
		}
		page, err := resources.ReadAuditFindings(ctx, store, audit.Query{RunID: run.ID, Code: c.Code, After: after, Limit: c.Limit})
		if err != nil {
			return err
		}
		answer := AuditPage{resources.NewAuditReport(run), page}
		return c.Write(to.Out, answer, answer.write)
	})
}

// AuditPage is what show prints as JSON.
type AuditPage struct {
	Audit                      resources.AuditReport `json:"audit"`
	resources.AuditFindingPage `json:",inline"`
}

func (c *auditShowCommand) find(ctx context.Context, store resources.AuditReader) (audit.Run, error) {
	runs, err := store.Audits(ctx, audit.Most)
	if err != nil {
		return audit.Run{}, err
	}
	if len(runs) == 0 {
		return audit.Run{}, errors.New("no audit is kept")
	}
	if c.Audit == "" {
		return runs[0], nil
	}
	at := slices.IndexFunc(runs, func(run audit.Run) bool { return run.ID.String() == c.Audit })
	if at < 0 {
		return audit.Run{}, errors.New("no audit has this id, or it is no longer kept")
	}
	return runs[at], nil
}

func (page AuditPage) write(w io.Writer) error {
	err := AuditReport{Audit: page.Audit}.write(w)
	if err != nil || len(page.Findings) == 0 {
		return err
	}
	_, _ = fmt.Fprintln(w)
	table := cli.NewTable(w, "WORKSPACE", "KIND", "STATUS", "DENIED", "MARKED", "CODE", "REASON")
	for _, f := range page.Findings {
		table.Row(f.WorkspaceID, f.Kind, f.Status, cli.YesOrNo(f.Denied), cli.YesOrNo(f.Marked), cmp.Or(f.Code, string(f.Error)), reasons(f))
	}
	return errors.Join(table.Flush(), cli.WriteMore(w, page.Next))
}

// reasons are those of all violations, in order.
func reasons(f audit.Finding) string {
	all := make([]string, len(f.Violations))
	for i, v := range f.Violations {
		all[i] = v.Reason
	}
	return strings.Join(all, ", ")
}
