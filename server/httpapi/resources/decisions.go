package resources

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
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
type Decisions struct{ Reader DecisionReader }

// List serves GET /v1/decisions.
func (d Decisions) List(r *http.Request) (DecisionPage, error) {
	q := queryOf(r)
	query, withInput := ledger.Query{Filter: q.decisionFilter(), After: q.cursor(), Limit: q.limit()}, q.withInput()
	if q.err != nil {
		return DecisionPage{}, q.err
	}
	page, err := ReadDecisionPage(r.Context(), d.Reader, query, withInput)
	return page, unreadable("decisions", err)
}

// Show serves GET /v1/decisions/{id}.
func (d Decisions) Show(r *http.Request) (DecisionRecord, error) {
	id, err := pathID(r, "decision")
	if err != nil {
		return DecisionRecord{}, err
	}
	found, err := d.Reader.Decision(r.Context(), id)
	if errors.Is(err, ledger.ErrNoDecision) {
		return DecisionRecord{}, &admission.Error{Code: admission.CodeNotFound, Detail: "no decision has this id, or it is no longer kept"}
	}
	return NewDecisionRecord(&found.Decision, true), unreadable("decisions", err)
}

// SummarySpan is how far a summary without since goes back.
const SummarySpan = 7 * 24 * time.Hour

// Summary serves GET /v1/decisions/summary.
func (d Decisions) Summary(r *http.Request) (ledger.Summary, error) {
	q := queryOf(r)
	filter := q.decisionFilter()
	if q.err != nil {
		return ledger.Summary{}, q.err
	}
	if filter.Since.IsZero() {
		filter.Since = time.Now().Add(-SummarySpan)
	}
	summary, err := d.Reader.Summarize(r.Context(), filter)
	return summary, unreadable("decisions", err)
}

// DecisionStream serves decisions as they are recorded.
type DecisionStream struct {
	Streams *sse.Streams
	Source  sse.Source[admission.Decision]
}

// Stream serves GET /v1/decisions/stream.
func (d DecisionStream) Stream(w http.ResponseWriter, r *http.Request) error {
	q := queryOf(r)
	filter, withInput := q.decisionFilter(), q.withInput()
	if q.err != nil {
		return q.err
	}
	return sse.Serve(d.Streams, w, r, sse.View[admission.Decision]{
		Source: d.Source, Passes: filter.Passes,
		Show: func(d *admission.Decision) (string, any) {
			return "decision", NewDecisionRecord(d, withInput)
		},
	})
}

func (q *query) decisionFilter() ledger.Filter {
	return ledger.Filter{
		Hook: q.text("hook"), Code: q.text("code"), UID: q.text("uid"), WorkspaceID: q.workspaceID(),
		Allowed: q.flag("allowed"), Failed: q.flag("failed"), Since: q.moment("since"), Until: q.moment("until"),
	}
}
