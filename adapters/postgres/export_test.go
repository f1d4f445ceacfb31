package postgres

import (
	"context"

	"gatehouse/server/admission"
)

// RecordBatch is what the group commit calls, for benchmarks of batches of a given size.
func (s *Store) RecordBatch(ctx context.Context, batch []admission.Decision) error {
	_, err := s.recordBatch(ctx, batch)
	return err
}

// StatementsOnOwnTables are those that are asked for each batch, by what they do.
func StatementsOnOwnTables() map[string]string {
	return map[string]string{"last events": lastEventsSQL, "uids": answeredSQL, "events": eventsAfterSQL}
}
