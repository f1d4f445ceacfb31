package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

const setShippedSQL = `
insert into gatehouse.shipped (collector, seq) values ($1, $2)
on conflict (collector) do update set seq = excluded.seq`

// ShippedSeq is up to which seq decisions have been shipped to a collector, 0 for none.
func (s *Store) ShippedSeq(ctx context.Context, collector string) (int64, error) {
	var seq int64
	err := s.pool.QueryRow(ctx, "select seq from gatehouse.shipped where collector = $1", collector).Scan(&seq)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, because(ctx, fmt.Errorf("reading how far a collector has come: %w", err))
	}
	return seq, nil
}

// SetShippedSeq keeps how far a collector has come.
func (s *Store) SetShippedSeq(ctx context.Context, collector string, seq int64) error {
	_, err := s.pool.Exec(ctx, setShippedSQL, collector, seq)
	if err != nil {
		return because(ctx, fmt.Errorf("keeping how far a collector has come: %w", err))
	}
	return nil
}
