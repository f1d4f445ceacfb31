package postgres

import (
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// effectRows are events as the arrays that the statements of effects take, one per column.
type effectRows struct {
	ids, workspaces, decisions [][16]byte
	types, hooks               []string
	errors, payloads           []string
	sequences                  []int64
	messages                   [][]byte
	times                      []time.Time
}

func (r *effectRows) add(event *admission.Event) error {
	message, err := json.Marshal(event)
	if err != nil {
		return fmt.Errorf("encoding the event: %w", err)
	}
	payload, err := json.Marshal(event.Payload)
	if err != nil {
		return fmt.Errorf("encoding the event's payload: %w", err)
	}
	r.ids = append(r.ids, event.ID)
	r.workspaces = append(r.workspaces, event.WorkspaceID)
	r.decisions = append(r.decisions, event.DecisionID)
	r.types = append(r.types, event.Event)
	r.hooks = append(r.hooks, event.Hook)
	r.errors = append(r.errors, event.Payload.Error)
	r.payloads = append(r.payloads, string(payload))
	r.sequences = append(r.sequences, event.Sequence)
	r.messages = append(r.messages, message)
	r.times = append(r.times, event.Timestamp)
	return nil
}

// queueEffects queues the statements that mark workspaces failed and record their events.
func queueEffects(last *commitBatch, events []admission.Event) error {
	rows := new(effectRows)
	for i := range events {
		err := rows.add(&events[i])
		if err != nil {
			return err
		}
	}
	last.queue("marking workspaces failed", markSQL, rows.workspaces, rows.errors)
	last.queue("writing the registry's events", structureEventsSQL, rows.ids, rows.types, rows.workspaces, rows.payloads)
	last.queue("writing outgoing events", eventsSQL,
		rows.ids, rows.workspaces, rows.sequences, rows.types, rows.decisions, rows.hooks, rows.messages, rows.times)
	return nil
}
