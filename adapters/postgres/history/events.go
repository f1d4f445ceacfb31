package history

import (
	"context"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/jackc/pgx/v5"

	"github.com/molecule-ai/gatehouse/adapters/postgres/connection"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

const (
	// EventsAfterSQL reads on from a seq. (select $1): see package postgres, mark.go.
	EventsAfterSQL = `
select seq, id, workspace_seq, decision_id, hook, message
from gatehouse.events where seq > (select $1::bigint) order by seq limit (select $2::bigint)`

	// A transaction has this lock from before it takes a seq until after its commit can be seen. The names are
	// unique as long as the server runs.
	eventWritersSQL = `
select virtualtransaction from pg_locks
where locktype = 'relation' and relation = 'gatehouse.events'::regclass and mode = 'RowExclusiveLock' and granted
    and database = (select oid from pg_database where datname = current_database())`
)

// EventReader reads the ledger of outgoing events.
type EventReader struct{ pool *connection.Pool }

// EventsAfter gives up to limit events of the ledger whose seq is greater than after, in the order of seq, as of
// one snapshot.
//
// A seq is taken when an event is written and can be seen when its transaction commits, so a later page may
// hold what an earlier one passed over: with 17 and 18 being written side by side, 18 can be there first. Who
// reads on from 18 without asking EventWriters never sees 17. Of one workspace the order of seq is that of the
// commits.
func (r EventReader) EventsAfter(ctx context.Context, after int64, limit int) ([]ledger.Event, error) {
	rows, err := r.pool.Query(ctx, EventsAfterSQL, after, limit)
	if err != nil {
		return nil, connection.Explain(ctx, fmt.Errorf("reading the ledger of events: %w", err))
	}
	events, err := pgx.CollectRows(rows, readEvent)
	if err != nil {
		return nil, connection.Explain(ctx, fmt.Errorf("reading the ledger of events: %w", err))
	}
	return events, nil
}

func readEvent(row pgx.CollectableRow) (ledger.Event, error) {
	var read ledger.Event
	var message []byte
	event := &read.Event
	err := row.Scan(&read.Seq, (*[16]byte)(&event.ID), &event.Sequence, (*[16]byte)(&event.DecisionID), &event.Hook, &message)
	if err != nil {
		return ledger.Event{}, err
	}
	err = json.Unmarshal(message, event)
	if err != nil {
		return ledger.Event{}, fmt.Errorf("event %s: reading its message: %w", event.ID, err)
	}
	return read, nil
}

// LastEventSeq is the greatest seq that can be read, 0 if there is none.
func (r EventReader) LastEventSeq(ctx context.Context) (int64, error) {
	var last int64
	err := r.pool.QueryRow(ctx, "select coalesce(max(seq), 0) from gatehouse.events").Scan(&last)
	if err != nil {
		return 0, connection.Explain(ctx, fmt.Errorf("reading the end of the ledger of events: %w", err))
	}
	return last, nil
}

// EventWriters names the transactions, of all processes, that are writing events now. Whatever has taken a seq
// below one that was read before this call is named, or has ended: once none of those that were named is named
// any more, what cannot be read of the lower ones was rolled back and will never be there.
//
// No timeout can tell that instead: it bounds neither a backend that hangs in its commit nor a process with longer timeouts.
//
// A snapshot's xmin would say so as well, with the transaction's id in each row. But any transaction that writes anywhere
// on the server holds xmin back, one in another database too, and the stream would stand still as long as it lasts.
func (r EventReader) EventWriters(ctx context.Context) ([]string, error) {
	rows, err := r.pool.Query(ctx, eventWritersSQL)
	if err != nil {
		return nil, connection.Explain(ctx, fmt.Errorf("asking who writes events: %w", err))
	}
	writers, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, connection.Explain(ctx, fmt.Errorf("asking who writes events: %w", err))
	}
	return writers, nil
}
