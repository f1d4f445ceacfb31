package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/molecule-ai/gatehouse/adapters/sqlite/connection"
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
		d, err = readRecorded(ctx, s.file.Readers, of)
	}
	if err != nil {
		return admission.Decision{}, fmt.Errorf("reading the decision of a uid: %w", connection.ExplainLedger(ctx, err))
	}
	return d, nil
}

// claimed looks for one key, waits for nobody, and is over before anybody would interrupt it.
func (s *Store) claimed(ctx context.Context, of admission.RequestKey) (claimed bool, _ error) {
	err := s.file.Lookups.Do(ctx, func(c *connection.Connection) error {
		query, err := c.Statement(ctx, claimedSQL)
		if err != nil {
			return err
		}
		rows, err := query.QueryContext(context.WithoutCancel(ctx), connection.Arguments([]any{of.UID, of.Caller}))
		if err != nil {
			return err
		}
		found := connection.DriverRows{Rows: rows}
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
		return admission.Decision{}, fmt.Errorf("recording a decision: %w", connection.ExplainLedger(ctx, err))
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
	return readRecorded(ctx, s.file.Readers, d.RequestKey())
}

// row is a decision as the driver takes it. It is made before the batch, so that the one writer only writes.
type row struct {
	decision []driver.NamedValue
	claim    []driver.NamedValue // empty for a decision without a uid, and for an error: that claims none
}

func newRow(d admission.Decision) (row, error) {
	made, err := newValues(d)
	return row{connection.Arguments(made.decision), connection.Arguments(made.claim)}, err
}

// writeBatch writes decisions in one transaction and returns for each whether it was written. A decision whose uid was decided
// before, in the batch or earlier, is left out.
func (s *Store) writeBatch(ctx context.Context, batch []row) (recorded []bool, err error) {
	err = connection.OnConnection(ctx, s.file.Writer, func(c *connection.Connection) (err error) {
		recorded, err = record(ctx, c, batch, s.file.CheckPlace)
		return err
	})
	return recorded, err
}

func record(ctx context.Context, c *connection.Connection, batch []row, check func() error) ([]bool, error) {
	insert, err := c.Statement(ctx, insertDecisionSQL)
	if err != nil {
		return nil, err
	}
	claim, err := c.Statement(ctx, claimUIDSQL)
	if err != nil {
		return nil, err
	}
	recorded := make([]bool, len(batch))
	err = c.InTransaction(ctx, func(ctx context.Context) error {
		err := check()
		if err != nil {
			return err
		}
		for i, each := range batch {
			if len(each.claim) > 0 {
				claimed, err := connection.Affected(claim.ExecContext(ctx, each.claim))
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
