package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"gatehouse/server/admission"
)

var _ admission.Ledger = (*Store)(nil)

// Recorded gives the decision of a uid, or admission.ErrNotRecorded.
func (s *Store) Recorded(ctx context.Context, uid string) (admission.Decision, error) {
	d, err := recorded(ctx, s.readers, uid)
	if err != nil {
		return admission.Decision{}, fmt.Errorf("reading the decision of a uid: %w", explain(ctx, err))
	}
	return d, nil
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
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer rollback(tx)

	written := make([]admission.Decision, len(batch))
	for i, d := range batch {
		written[i], err = write(ctx, tx, d)
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

// write needs no constraint to tell it of a uid that is taken: its transaction is the only one that writes.
func write(ctx context.Context, tx *sql.Tx, d admission.Decision) (admission.Decision, error) {
	earlier, found, err := earlierDecision(ctx, tx, d.UID)
	if err != nil || found {
		return earlier, err
	}
	err = insertDecision(ctx, tx, d)
	if err != nil {
		return admission.Decision{}, err
	}
	return d, nil
}

// earlierDecision is the one that carries uid already, if any does.
func earlierDecision(ctx context.Context, tx *sql.Tx, uid string) (_ admission.Decision, found bool, _ error) {
	if uid == "" {
		return admission.Decision{}, false, nil
	}
	d, err := recorded(ctx, tx, uid)
	if errors.Is(err, admission.ErrNotRecorded) {
		return admission.Decision{}, false, nil
	}
	return d, err == nil, err
}

// rollback ends a transaction that was not committed. Its error says nothing that the error which led here
// does not say; after a commit it does nothing.
func rollback(tx *sql.Tx) { _ = tx.Rollback() }
