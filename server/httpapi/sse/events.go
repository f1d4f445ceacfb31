package sse

import (
	"net/http"
	"slices"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
)

// Events serves the stream of events.
type Events struct {
	Streams *Streams
	Source  Source[admission.Event]
}

// Stream serves GET /v1/events/stream.
func (e Events) Stream(w http.ResponseWriter, r *http.Request) error {
	filter, err := newEventFilter(r)
	if err != nil {
		return err
	}
	return Serve(e.Streams, w, r, View[admission.Event]{
		Source: e.Source, Passes: filter.passes,
		Show: func(e *admission.Event) (string, any) {
			return e.Event, streamedEvent{e.ID, e.Sequence, e.DecisionID, e.Hook, *e}
		},
	})
}

// eventFilter says which events a client wants to see.
type eventFilter struct {
	workspace uuid.UUID // Nil for all
	codes     []string  // none for all
}

func newEventFilter(r *http.Request) (eventFilter, error) {
	query := r.URL.Query()
	filter := eventFilter{codes: query["code"]}
	if !query.Has("workspace_id") {
		return filter, nil
	}
	var err error
	filter.workspace, err = decode.ParseWorkspaceID(query.Get("workspace_id"))
	if err != nil {
		return eventFilter{}, admission.Malformed("workspace_id is not a UUID")
	}
	return filter, nil
}

func (f eventFilter) passes(event *admission.Event) bool {
	return (f.workspace == uuid.Nil || f.workspace == event.WorkspaceID) &&
		(len(f.codes) == 0 || slices.Contains(f.codes, event.Payload.Code))
}

// streamedEvent is the data of one event: the registry's message, and which one it is.
type streamedEvent struct {
	ID         uuid.UUID `json:"id"`
	Sequence   int64     `json:"sequence"`
	DecisionID uuid.UUID `json:"decision_id"`
	Hook       string    `json:"hook"`
	admission.Event
}
