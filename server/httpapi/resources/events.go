package resources

import (
	"net/http"
	"slices"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi/sse"
)

// EventStream serves events as they are recorded.
type EventStream struct {
	Streams *sse.Streams
	Source  sse.Source[admission.Event]
}

// Stream serves GET /v1/events/stream?workspace_id=&code=.
func (e EventStream) Stream(w http.ResponseWriter, r *http.Request) error {
	q := queryOf(r)
	workspace, codes := q.workspaceID(), q.values["code"]
	if q.err != nil {
		return q.err
	}
	return sse.Serve(e.Streams, w, r, sse.View[admission.Event]{
		Source: e.Source,
		Passes: func(event *admission.Event) bool {
			return (workspace == uuid.Nil || workspace == event.WorkspaceID) &&
				(len(codes) == 0 || slices.Contains(codes, event.Payload.Code))
		},
		Show: func(e *admission.Event) (string, any) {
			return e.Event, streamedEvent{e.ID, e.Sequence, e.DecisionID, e.Hook, *e}
		},
	})
}

// streamedEvent is the data of one event: the registry's message, and which one it is.
type streamedEvent struct {
	ID         uuid.UUID `json:"id"`
	Sequence   int64     `json:"sequence"`
	DecisionID uuid.UUID `json:"decision_id"`
	Hook       string    `json:"hook"`
	admission.Event
}
