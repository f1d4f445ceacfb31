package admission

// LedgerEvent is an event at its place in the ledger of events.
type LedgerEvent struct {
	Event Event
	// Seq is the ledger's own order of all events, from 1, with gaps. Where events are written side by side, a
	// lower one may be committed after a higher one has been read.
	Seq int64
}

// Streamed is an item of a ledger on its way to a reader.
type Streamed[T any] struct {
	// Position is where a reader resumes who has this item and all that came before it: everything at or below it
	// has been sent. It never goes back, and several items may have the same.
	Position int64
	Item     *T // nil where only the position has moved
}
