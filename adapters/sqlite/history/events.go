package history

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/go-json-experiment/json"

	"github.com/molecule-ai/gatehouse/adapters/sqlite/connection"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// EventReader reads the ledger of outgoing events.
type EventReader struct{ file *connection.File }

// EventsAfter gives up to limit events whose seq is greater than after, in the order of seq, which is that of
// the commits: one transaction writes at a time.
func (r EventReader) EventsAfter(ctx context.Context, after int64, limit int) ([]ledger.Event, error) {
	events, err := connection.Collect(ctx, r.file.Readers, scanEvent, `
		select seq, id, workspace_seq, decision_id, hook, message from events
		where seq > $1 order by seq limit $2`, after, limit)
	if err != nil {
		return nil, fmt.Errorf("reading the ledger of events: %w", connection.Explain(ctx, err))
	}
	return events, nil
}

func scanEvent(rows *sql.Rows) (ledger.Event, error) {
	var read ledger.Event
	var message []byte
	event := &read.Event
	err := rows.Scan(&read.Seq, &event.ID, &event.Sequence, &event.DecisionID, &event.Hook, &message)
	if err != nil {
		return ledger.Event{}, err
	}
	err = json.Unmarshal(message, event)
	if err != nil {
		return ledger.Event{}, fmt.Errorf("the message of event %s is unreadable: %w", event.ID, err)
	}
	return read, nil
}

// LastEventSeq is the greatest seq that can be read, 0 if there is none.
func (r EventReader) LastEventSeq(ctx context.Context) (int64, error) {
	var last int64
	err := r.file.Readers.QueryRowContext(ctx, `select coalesce(max(seq), 0) from events`).Scan(&last)
	if err != nil {
		return 0, fmt.Errorf("reading the end of the ledger of events: %w", connection.Explain(ctx, err))
	}
	return last, nil
}

// EventWriters names nobody: a transaction that is writing has not taken a seq below one that can be read.
func (EventReader) EventWriters(context.Context) ([]string, error) { return nil, nil }
