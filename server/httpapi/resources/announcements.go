package resources

import (
	"context"
	"errors"
	"net/http"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// AnnouncementFilter selects announcements; zero values select all. Cursor is the next of the page before.
type AnnouncementFilter struct {
	Sink   string
	State  string
	Cursor string
	Limit  int // up to MaxPage
}

// AnnouncementPage is a page of announcements, newest first, with the state of the sinks.
type AnnouncementPage struct {
	Announcements any    `json:"announcements"`
	Next          string `json:"next"` // cursor of the next page, "" on the last
	Sinks         any    `json:"sinks"`
}

// ErrBadFilter says that a filter has a value that the list does not take.
var ErrBadFilter = errors.New("bad filter")

// AnnouncementLister lists what goes out to sinks.
type AnnouncementLister interface {
	ListAnnouncements(ctx context.Context, filter AnnouncementFilter) (AnnouncementPage, error)
}

// Announcements serves what goes out to sinks.
type Announcements struct{ Lister AnnouncementLister }

// List serves GET /v1/announcements?sink=&state=&cursor=&limit=.
func (a Announcements) List(r *http.Request) (AnnouncementPage, error) {
	q := queryOf(r)
	filter := AnnouncementFilter{Sink: q.text("sink"), State: q.text("state"), Cursor: q.text("cursor"), Limit: q.limit()}
	if q.err != nil {
		return AnnouncementPage{}, q.err
	}
	page, err := a.Lister.ListAnnouncements(r.Context(), filter)
	if errors.Is(err, ErrBadFilter) {
		return page, admission.Malformed("state is not pending, retrying, dead or delivered, or cursor is not one that a page gave")
	}
	return page, unreadable("announcements", err)
}
