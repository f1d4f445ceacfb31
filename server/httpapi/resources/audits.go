package resources

import (
	"context"
	"net/http"
	"slices"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/audit"
	"github.com/molecule-ai/gatehouse/server/httpapi/respond"
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

// AuditFindingPage is a page of what a run found, in order of workspaces.
type AuditFindingPage struct {
	Findings []audit.Finding `json:"findings"`
	Next     string          `json:"next"` // cursor of the next page, "" on the last
}

// ReadAuditFindings reads a page of findings.
func ReadAuditFindings(ctx context.Context, reader AuditReader, query audit.Query) (AuditFindingPage, error) {
	limit := query.Limit
	query.Limit++ // whether there is one more says whether there is a next page
	found, err := reader.AuditFindings(ctx, query)
	if err != nil {
		return AuditFindingPage{}, err
	}
	page := AuditFindingPage{Findings: found}
	if len(found) > limit {
		page.Findings = found[:limit]
		page.Next = found[limit-1].WorkspaceID.String()
	}
	return page, nil
}

// Audits serves what audits found.
type Audits struct {
	Respond *respond.Responder
	Reader  AuditReader
}

// List serves GET /v1/audits.
func (a Audits) List(w http.ResponseWriter, r *http.Request) error {
	runs, err := a.Reader.Audits(r.Context(), audit.Most)
	if err != nil {
		return auditsUnreadable(err)
	}
	list := AuditList{Audits: make([]AuditReport, len(runs))}
	for i, run := range runs {
		list.Audits[i] = NewAuditReport(run)
	}
	a.Respond.JSON(w, r, http.StatusOK, list)
	return nil
}

// Show serves GET /v1/audits/{id}.
func (a Audits) Show(w http.ResponseWriter, r *http.Request) error {
	run, err := a.auditOf(r)
	if err != nil {
		return err
	}
	a.Respond.JSON(w, r, http.StatusOK, NewAuditReport(run))
	return nil
}

// auditOf is the run that the path names.
func (a Audits) auditOf(r *http.Request) (audit.Run, error) {
	id, err := ParseDecisionID(chi.URLParam(r, "id"))
	if err != nil {
		return audit.Run{}, admission.Malformed("the id of the audit is not a UUID")
	}
	runs, err := a.Reader.Audits(r.Context(), audit.Most)
	if err != nil {
		return audit.Run{}, auditsUnreadable(err)
	}
	at := slices.IndexFunc(runs, func(run audit.Run) bool { return run.ID == id })
	if at < 0 {
		return audit.Run{}, &admission.Error{Code: admission.CodeNotFound, Detail: "no audit has this id, or it is no longer kept"}
	}
	return runs[at], nil
}

// Findings serves GET /v1/audits/{id}/findings?code=&cursor=&limit=.
func (a Audits) Findings(w http.ResponseWriter, r *http.Request) error {
	values := r.URL.Query()
	limit, err := pageLimit(values)
	if err != nil {
		return err
	}
	query := audit.Query{Code: values.Get("code"), Limit: limit}
	if text := values.Get("cursor"); text != "" {
		query.After, err = uuid.Parse(text)
		if err != nil {
			return admission.Malformed("cursor is not one that a page gave")
		}
	}
	run, err := a.auditOf(r)
	if err != nil {
		return err
	}
	query.RunID = run.ID
	page, err := ReadAuditFindings(r.Context(), a.Reader, query)
	if err != nil {
		return auditsUnreadable(err)
	}
	a.Respond.JSON(w, r, http.StatusOK, page)
	return nil
}

func auditsUnreadable(err error) error {
	return &admission.Error{Code: admission.CodeRecordFailed, Detail: "the audits cannot be read", Err: err}
}
