package resources

import (
	"context"
	"net/http"
	"slices"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/audit"
)

// AuditReader reads what audits of the stored workspaces found.
type AuditReader interface {
	// Audits are the last so many runs, newest first.
	Audits(ctx context.Context, limit int) ([]audit.Run, error)
	// AuditFindings gives one page of the findings of a run, in order of workspaces.
	AuditFindings(ctx context.Context, query audit.Query) ([]audit.Finding, error)
}

// AuditReport is a run as JSON, here and on the command line.
type AuditReport struct {
	audit.Run
	WorkedSeconds float64 `json:"worked_seconds"`
}

// NewAuditReport shows a run.
func NewAuditReport(run audit.Run) AuditReport {
	return AuditReport{Run: run, WorkedSeconds: run.Worked.Seconds()}
}

// AuditList are the runs that are kept, newest first.
type AuditList struct {
	Audits []AuditReport `json:"audits"`
}

// NewAuditList shows runs.
func NewAuditList(runs []audit.Run) AuditList {
	list := AuditList{Audits: make([]AuditReport, len(runs))}
	for i, run := range runs {
		list.Audits[i] = NewAuditReport(run)
	}
	return list
}

// AuditFindingPage is a page of what a run found, in order of workspaces.
type AuditFindingPage struct {
	Findings []audit.Finding `json:"findings"`
	Next     string          `json:"next"` // cursor of the next page, "" on the last
}

// ReadAuditFindings reads a page of findings.
func ReadAuditFindings(ctx context.Context, reader AuditReader, query audit.Query) (page AuditFindingPage, err error) {
	limit := query.Limit
	query.Limit++ // whether there is one more says whether there is a next page
	page.Findings, err = reader.AuditFindings(ctx, query)
	if len(page.Findings) > limit {
		page.Findings = page.Findings[:limit]
		page.Next = page.Findings[limit-1].WorkspaceID.String()
	}
	return page, err
}

// Audits serves what audits found.
type Audits struct{ Reader AuditReader }

// List serves GET /v1/audits.
func (a Audits) List(r *http.Request) (AuditList, error) {
	runs, err := a.Reader.Audits(r.Context(), audit.Most)
	return NewAuditList(runs), unreadable("audits", err)
}

// Show serves GET /v1/audits/{id}.
func (a Audits) Show(r *http.Request) (AuditReport, error) {
	id, err := pathID(r, "audit")
	if err != nil {
		return AuditReport{}, err
	}
	runs, err := a.Reader.Audits(r.Context(), audit.Most)
	if err != nil {
		return AuditReport{}, unreadable("audits", err)
	}
	at := slices.IndexFunc(runs, func(run audit.Run) bool { return run.ID == id })
	if at < 0 {
		return AuditReport{}, &admission.Error{Code: admission.CodeNotFound, Detail: "no audit has this id, or it is no longer kept"}
	}
	return NewAuditReport(runs[at]), nil
}

// Findings serves GET /v1/audits/{id}/findings?code=&cursor=&limit=.
func (a Audits) Findings(r *http.Request) (AuditFindingPage, error) {
	q := queryOf(r)
	query := audit.Query{Code: q.text("code"), After: q.cursor(), Limit: q.limit()}
	if q.err != nil {
		return AuditFindingPage{}, q.err
	}
	run, err := a.Show(r)
	if err != nil {
		return AuditFindingPage{}, err
	}
	query.RunID = run.ID
	page, err := ReadAuditFindings(r.Context(), a.Reader, query)
	return page, unreadable("audits", err)
}
