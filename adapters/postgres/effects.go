package postgres

import (
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/jackc/pgx/v5"

	"gatehouse/server/admission"
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
	message, err := encodeEvent(event)
	if err != nil {
		return err
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

// queueEffects queues what marks workspaces failed, and says so.
func queueEffects(batch *pgx.Batch, events []admission.Event) error {
	rows := new(effectRows)
	for i := range events {
		err := rows.add(&events[i])
		if err != nil {
			return err
		}
	}
	n := len(events)
	queueExactly(batch, n, "marking workspaces failed", markSQL, rows.workspaces, rows.errors)
	queueExactly(batch, n, "writing the registry's events", structureEventsSQL, rows.ids, rows.types, rows.workspaces, rows.payloads)
	queueExactly(batch, n, "writing outgoing events", eventsSQL,
		rows.ids, rows.workspaces, rows.sequences, rows.types, rows.decisions, rows.hooks, rows.messages, rows.times)
	return nil
}

// queueExactly queues a statement that must touch n rows, no more and no less.
func queueExactly(batch *pgx.Batch, n int, what, sql string, arguments ...any) {
	query := batch.Queue(sql, arguments...)
	query.Fn = func(results pgx.BatchResults) error {
		tag, err := results.Exec()
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if tag.RowsAffected() != int64(n) {
			return fmt.Errorf("%s: %d rows were changed instead of %d", what, tag.RowsAffected(), n)
		}
		return nil
	}
}
