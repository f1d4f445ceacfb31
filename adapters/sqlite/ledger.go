package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"gatehouse/server/admission"
)

var _ admission.Ledger = (*Store)(nil)

// Recorded gives the decision of a uid, or admission.ErrNotRecorded.
func (s *Store) Recorded(ctx context.Context, uid string) (admission.Decision, error) {
	d, err := s.readRecorded(ctx, uid)
	if err != nil {
		return admission.Decision{}, fmt.Errorf("reading the decision of a uid: %w", explain(ctx, err))
	}
	return d, nil
}

func (s *Store) readRecorded(ctx context.Context, uid string) (admission.Decision, error) {
	query, err := s.recorded.get(ctx) //nolint:sqlclosecheck // kept for the next look-up; Close closes it with the pool
	if err != nil {
		return admission.Decision{}, err
	}
	return readRecorded(query.QueryContext(ctx, uid))
}

// Record writes a decision together with those that are recorded at the same time.
func (s *Store) Record(ctx context.Context, d admission.Decision) (admission.Decision, error) {
	written, err := s.records.Do(ctx, d)
	if err != nil {
		return admission.Decision{}, fmt.Errorf("recording a decision: %w", explain(ctx, err))
	}
	return written, nil
}

// writeBatch writes decisions in one transaction. For each whose uid was decided before, in the batch or
// earlier, it writes nothing and gives that one.
func (s *Store) writeBatch(ctx context.Context, batch []admission.Decision) ([]admission.Decision, error) {
	tx, inserts, err := s.beginInserts(ctx)
	if err != nil {
		return nil, err
	}
	defer rollback(tx)

	written := make([]admission.Decision, len(batch))
	for i, d := range batch {
		written[i], err = inserts.write(ctx, d)
		if err != nil {
			return nil, err
		}
	}
	err = tx.Commit()
	if err != nil {
		return nil, err
	}
	return written, nil
}

// rollback ends a transaction that was not committed. Its error says nothing that the error which led here
// does not say; after a commit it does nothing.
func rollback(tx *sql.Tx) { _ = tx.Rollback() }
