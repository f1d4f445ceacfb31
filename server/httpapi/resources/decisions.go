package resources

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
	"github.com/molecule-ai/gatehouse/server/httpapi/respond"
	"github.com/molecule-ai/gatehouse/server/httpapi/sse"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// DecisionReader reads recorded decisions.
type DecisionReader interface {
	// Decision gives one by its id, or ledger.ErrNoDecision.
	Decision(ctx context.Context, id uuid.UUID) (ledger.Decision, error)
	// Decisions gives one page in order of ids.
	Decisions(ctx context.Context, query ledger.Query) ([]ledger.Decision, error)
	// Summarize counts the decisions of a filter by their codes.
	Summarize(ctx context.Context, filter ledger.Filter) (ledger.Summary, error)
}

// DecisionPage is a page of decisions, newest first.
type DecisionPage struct {
	Decisions []DecisionRecord `json:"decisions"`
	Next      string           `json:"next"` // cursor of the next page, "" on the last
}

// ReadDecisionPage reads a page, newest first. Inputs are left out unless they are asked for: a page of a thousand
// could be many megabytes.
func ReadDecisionPage(
	ctx context.Context, reader DecisionReader, query ledger.Query, withInput bool,
) (DecisionPage, error) {
	limit := query.Limit
	query.Limit++ // whether there is one more says whether there is a next page
	found, err := reader.Decisions(ctx, query)
	if err != nil {
		return DecisionPage{}, err
	}
	page := DecisionPage{Decisions: make([]DecisionRecord, 0, len(found))}
	if len(found) > limit {
		found = found[:limit]
		page.Next = found[limit-1].Decision.ID.String()
	}
	for i := range found {
		page.Decisions = append(page.Decisions, NewDecisionRecord(&found[i].Decision, withInput))
	}
	return page, nil
}

// Decisions serves what was recorded.
type Decisions struct {
	Respond *respond.Responder
	Reader  DecisionReader
}

// List serves GET /v1/decisions.
func (d Decisions) List(w http.ResponseWriter, r *http.Request) error {
	values := r.URL.Query()
	filter, err := decisionFilter(values)
	if err != nil {
		return err
	}
	limit, err := pageLimit(values)
	if err != nil {
		return err
	}
	query := ledger.Query{Filter: filter, Limit: limit}
	if text := values.Get("cursor"); text != "" {
		query.After, err = ParseDecisionID(text)
		if err != nil {
			return admission.Malformed("cursor is not one that a page gave")
		}
	}
	withInput, err := flag(values, "input")
	if err != nil {
		return err
	}
	page, err := ReadDecisionPage(r.Context(), d.Reader, query, withInput != nil && *withInput)
	if err != nil {
		return decisionsUnreadable(err)
	}
	d.Respond.JSON(w, r, http.StatusOK, page)
	return nil
}

// Show serves GET /v1/decisions/{id}.
func (d Decisions) Show(w http.ResponseWriter, r *http.Request) error {
	id, err := ParseDecisionID(chi.URLParam(r, "id"))
	if err != nil {
		return admission.Malformed("the id of the decision is not a UUID")
	}
	found, err := d.Reader.Decision(r.Context(), id)
	switch {
	case errors.Is(err, ledger.ErrNoDecision):
		return &admission.Error{Code: admission.CodeNotFound, Detail: "no decision has this id, or it is no longer kept"}
	case err != nil:
		return decisionsUnreadable(err)
	}
	d.Respond.JSON(w, r, http.StatusOK, NewDecisionRecord(&found.Decision, true))
	return nil
}

// SummarySpan is how far a summary goes back that is not told from when on.
const SummarySpan = 7 * 24 * time.Hour

// Summary serves GET /v1/decisions/summary.
func (d Decisions) Summary(w http.ResponseWriter, r *http.Request) error {
	filter, err := decisionFilter(r.URL.Query())
	if err != nil {
		return err
	}
	if filter.Since.IsZero() {
		filter.Since = time.Now().Add(-SummarySpan)
	}
	summary, err := d.Reader.Summarize(r.Context(), filter)
	if err != nil {
		return decisionsUnreadable(err)
	}
	d.Respond.JSON(w, r, http.StatusOK, summary)
	return nil
}

func decisionsUnreadable(err error) error {
	return &admission.Error{Code: admission.CodeRecordFailed, Detail: "the decisions cannot be read", Err: err}
}

// DecisionStream serves decisions as they are recorded.
type DecisionStream struct {
	Streams *sse.Streams
	Source  sse.Source[admission.Decision]
}

// Stream serves GET /v1/decisions/stream.
func (d DecisionStream) Stream(w http.ResponseWriter, r *http.Request) error {
	values := r.URL.Query()
	filter, err := decisionFilter(values)
	if err != nil {
		return err
	}
	withInput, err := flag(values, "input")
	if err != nil {
		return err
	}
	return sse.Serve(d.Streams, w, r, sse.View[admission.Decision]{
		Source: d.Source, Passes: filter.Passes,
		Show: func(d *admission.Decision) (string, any) {
			return "decision", NewDecisionRecord(d, withInput != nil && *withInput)
		},
	})
}

func decisionFilter(values url.Values) (ledger.Filter, error) {
	filter := ledger.Filter{Hook: values.Get("hook"), Code: values.Get("code"), UID: values.Get("uid")}
	var errs [5]error
	filter.Allowed, errs[0] = flag(values, "allowed")
	filter.Failed, errs[1] = flag(values, "failed")
	filter.Since, errs[2] = moment(values, "since")
	filter.Until, errs[3] = moment(values, "until")
	if values.Has("workspace_id") {
		filter.WorkspaceID, errs[4] = decode.ParseWorkspaceID(values.Get("workspace_id"))
		if errs[4] != nil {
			errs[4] = admission.Malformed("workspace_id is not a UUID")
		}
	}
	return filter, cmp.Or(errs[:]...)
}

// ParseDecisionID reads an id as it is written everywhere.
func ParseDecisionID(text string) (uuid.UUID, error) {
	id, err := uuid.Parse(text)
	if err == nil && id.String() != text {
		err = errors.New("not as ids are written")
	}
	return id, err
}
