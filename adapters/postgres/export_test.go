package postgres

import (
	"context"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/adapters/postgres/history"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// RecordBatch is what the group commit calls, for benchmarks of batches of a given size.
func (s *Store) RecordBatch(ctx context.Context, batch []admission.Decision) error {
	_, err := s.recordBatch(ctx, batch)
	return err
}

// StatementsOnOwnTables are those that are asked for each batch, by what they do.
func StatementsOnOwnTables() map[string]string {
	return map[string]string{"last events": lastEventsSQL, "uids": answeredSQL, "events": history.EventsAfterSQL}
}

// ForgetWorkspaces makes the look-up of many workspaces give none of those whose names are forgotten.
func (s *Store) ForgetWorkspaces() {
	s.factsMany = "select * from (" + s.factsMany + ") given where given.workspace ->> 'name' is distinct from 'forgotten'"
}

// FactsBatch is what the group of lookups calls. It gives the errors of each workspace.
func (s *Store) FactsBatch(ctx context.Context, ids []uuid.UUID) ([]error, error) {
	found, err := s.factsBatch(ctx, ids)
	errs := make([]error, len(found))
	for i, one := range found {
		errs[i] = one.err
	}
	return errs, err
}
