// Package ledger is what a store keeps and gives back: decisions and events at their place in its order, the ways to ask for
// them, and the policies that were live. Package admission has the ports by which they are written.
package ledger

import (
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// ErrNoDecision says that no decision has an id: it was never made, or is no longer kept.
var ErrNoDecision = errors.New("no decision has this id")

// Filter selects decisions; zero values select all.
type Filter struct {
	Hook        string
	Allowed     *bool // allows or denies; neither has failed
	Failed      *bool // whether an error was answered
	Code        string
	WorkspaceID uuid.UUID
	UID         string
	Since       time.Time // of Decision.At, inclusive
	Until       time.Time // exclusive
}

// Passes says whether d is selected.
func (f Filter) Passes(d *admission.Decision) bool {
	failed := d.Failed != nil
	return (f.Hook == "" || f.Hook == d.Hook) &&
		(f.Allowed == nil || !failed && *f.Allowed == d.Verdict.Allowed()) &&
		(f.Failed == nil || *f.Failed == failed) &&
		(f.Code == "" || f.Code == d.Code()) &&
		(f.WorkspaceID == uuid.Nil || f.WorkspaceID == d.WorkspaceID) &&
		(f.UID == "" || f.UID == d.UID) &&
		(f.Since.IsZero() || !d.At.Before(f.Since)) &&
		(f.Until.IsZero() || d.At.Before(f.Until))
}

// idSlack is by how much the id of a decision can be later than its time: in records of before ids were made of
// it, as long as a review took.
const idSlack = time.Minute

// IDs are bounds of the ids of what the filter selects, for stores that look decisions up by their ids: from
// first, inclusive, to last, exclusive. Nil is no bound.
func (f Filter) IDs() (first, last uuid.UUID) {
	if !f.Since.IsZero() {
		first = admission.FirstDecisionID(f.Since)
	}
	if !f.Until.IsZero() {
		last = admission.FirstDecisionID(f.Until.Add(idSlack))
	}
	return first, last
}

// Query asks for one page of decisions in the order of their ids, which is that of their times to a
// millisecond.
type Query struct {
	Filter
	OldestFirst bool      // else the newest first
	After       uuid.UUID // the last id of the page before, Nil for the first page
	Limit       int       // at least 1
}

// Decision is a decision at its place in the ledger.
type Decision struct {
	Decision admission.Decision
	// Seq is the ledger's own order of all decisions, from 1, with gaps. Where decisions are written side by side,
	// a lower one may be committed after a higher one has been read.
	Seq int64
}

// Pruned is what was deleted because of its age.
type Pruned struct {
	Decisions  int64    // 0 where whole partitions went, whose rows nobody counts
	UIDs       int64    // of requests, which can be asked again then
	Partitions []string // names of those that were dropped
}

// Event is an event at its place in the ledger of events.
type Event struct {
	Event admission.Event
	// Seq is the ledger's own order of all events, from 1, with gaps. Where events are written side by side, a
	// lower one may be committed after a higher one has been read.
	Seq int64
}
