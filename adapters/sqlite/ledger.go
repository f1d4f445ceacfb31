package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/molecule-ai/gatehouse/server/admission"
)

var _ admission.Ledger = (*Store)(nil)

// Recorded gives the decision of a caller's uid, or admission.ErrNotRecorded, which is what most reviews ask for.
func (s *Store) Recorded(ctx context.Context, of admission.RequestKey) (admission.Decision, error) {
	claimed, err := s.claimed(ctx, of)
	if err == nil && !claimed {
		return admission.Decision{}, admission.ErrNotRecorded
	}
	var d admission.Decision
	if err == nil {
		d, err = readRecorded(ctx, s.readers, of)
	}
	if err != nil {
		return admission.Decision{}, fmt.Errorf("reading the decision of a uid: %w", explainLedger(ctx, err))
	}
	return d, nil
}

// claimed looks for one key, waits for nobody, and is over before anybody would interrupt it.
func (s *Store) claimed(ctx context.Context, of admission.RequestKey) (claimed bool, _ error) {
	err := s.lookups.do(ctx, func(c *connection) error {
		query, err := c.statement(ctx, claimedSQL)
		if err != nil {
			return err
		}
		rows, err := query.QueryContext(context.WithoutCancel(ctx), arguments([]any{of.UID, of.Caller}))
		if err != nil {
			return err
		}
		found := driverRows{Rows: rows}
		claimed = found.Next()
		return errors.Join(found.Err(), rows.Close())
	})
	return claimed, err
}

// Record writes a decision together with those that are recorded at the same time. If its uid was decided before, it
// writes nothing and gives that one.
func (s *Store) Record(ctx context.Context, d admission.Decision) (admission.Decision, error) {
	written, err := s.record(ctx, d)
	if err != nil {
		return admission.Decision{}, fmt.Errorf("recording a decision: %w", explainLedger(ctx, err))
	}
	return written, nil
}

func (s *Store) record(ctx context.Context, d admission.Decision) (admission.Decision, error) {
	row, err := newRow(d)
	if err != nil {
		return admission.Decision{}, err
	}
	recorded, err := s.records.Do(ctx, row)
	if err != nil || recorded {
		return d, err
	}
	return readRecorded(ctx, s.readers, d.RequestKey())
}

// row is a decision as the driver takes it, so that whoever writes a batch has nothing to do but that.
type row struct {
	decision []driver.NamedValue
	claim    []driver.NamedValue // empty for a decision without a uid, and for an error: that claims none
}

func newRow(d admission.Decision) (row, error) {
	values, err := decisionValues(d)
	if err != nil {
		return row{}, err
	}
	made := row{decision: arguments(values)}
	if claims(d) {
		made.claim = arguments(claimValues(d))
	}
	return made, nil
}

// writeBatch writes decisions in one transaction, and says of each whether it did: it leaves out those whose uid was
// decided before, in the batch or earlier.
func (s *Store) writeBatch(ctx context.Context, batch []row) (recorded []bool, err error) {
	err = onConnection(ctx, s.writer, func(c *connection) (err error) {
		recorded, err = c.record(ctx, batch, s.checkPlace)
		return err
	})
	return recorded, err
}

func (c *connection) record(ctx context.Context, batch []row, check func() error) ([]bool, error) {
	insert, err := c.statement(ctx, insertDecisionSQL)
	if err != nil {
		return nil, err
	}
	claim, err := c.statement(ctx, claimUIDSQL)
	if err != nil {
		return nil, err
	}
	recorded := make([]bool, len(batch))
	err = c.inTransaction(ctx, func(ctx context.Context) error {
		err := check()
		if err != nil {
			return err
		}
		for i, each := range batch {
			if len(each.claim) > 0 {
				claimed, err := affected(claim.ExecContext(ctx, each.claim))
				if err != nil {
					return err
				}
				if claimed == 0 {
					continue
				}
			}
			_, err = insert.ExecContext(ctx, each.decision)
			if err != nil {
				return err
			}
			recorded[i] = true
		}
		return nil
	})
	return recorded, err
}

// rollback ends a transaction that was not committed. Its error says nothing that the error which led here
// does not say; after a commit it does nothing.
func rollback(tx *sql.Tx) { _ = tx.Rollback() }
