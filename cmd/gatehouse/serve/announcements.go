package serve

import (
	"context"
	"errors"
	"fmt"

	"github.com/molecule-ai/gatehouse/adapters/announce/operator"
	"github.com/molecule-ai/gatehouse/server/httpapi"
)

// announcementView shows the queue to the server.
type announcementView struct {
	announcements *operator.Announcements
}

func (v announcementView) ListAnnouncements(ctx context.Context, filter httpapi.AnnouncementFilter) (httpapi.AnnouncementPage, error) {
	state := operator.State(filter.State)
	switch state {
	case "", operator.StatePending, operator.StateRetrying, operator.StateDead, operator.StateDelivered:
	default:
		return httpapi.AnnouncementPage{}, httpapi.ErrBadFilter
	}
	page, next, err := v.announcements.List(ctx, operator.Filter{Sink: filter.Sink, State: state, After: filter.Cursor, Limit: filter.Limit})
	if errors.Is(err, operator.ErrBadCursor) {
		return httpapi.AnnouncementPage{}, httpapi.ErrBadFilter
	}
	if err != nil {
		return httpapi.AnnouncementPage{}, err
	}
	sinks, err := v.announcements.Sinks(ctx)
	if err != nil {
		return httpapi.AnnouncementPage{}, fmt.Errorf("reading the state of the sinks: %w", err)
	}
	return httpapi.AnnouncementPage{Announcements: page, Next: next, Sinks: sinks}, nil
}
