package stream

// Streamed is an item of a ledger on its way to a reader.
type Streamed[T any] struct {
	// Position is where a reader resumes who has this item and all that came before it: everything at or below it
	// has been sent. It never goes back, and several items may have the same.
	Position int64
	Item     *T // nil where only the position has moved
}
