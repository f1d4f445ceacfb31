package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/molecule-ai/gatehouse/adapters/sqlite/connection"
)

// ShippedStore keeps how far collectors of decisions have come.
type ShippedStore struct{ file *connection.File }

// ShippedSeq is up to which seq decisions have been shipped to a collector, 0 for none.
func (s ShippedStore) ShippedSeq(ctx context.Context, collector string) (int64, error) {
	var seq int64
	err := s.file.Readers.QueryRowContext(ctx, `select seq from shipped_decisions where collector = $1`, collector).Scan(&seq)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading what was shipped to a collector: %w", connection.Explain(ctx, err))
	}
	return seq, nil
}

// SetShippedSeq keeps it.
func (s ShippedStore) SetShippedSeq(ctx context.Context, collector string, seq int64) error {
	_, err := s.file.Writer.ExecContext(ctx, `
		insert into shipped_decisions (collector, seq) values ($1, $2)
		on conflict (collector) do update set seq = excluded.seq`, collector, seq)
	if err != nil {
		return fmt.Errorf("keeping what was shipped to a collector: %w", connection.Explain(ctx, err))
	}
	return nil
}
