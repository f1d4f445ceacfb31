package history

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/molecule-ai/gatehouse/adapters/postgres/connection"
)

const setShippedSQL = `
insert into gatehouse.shipped (collector, seq) values ($1, $2)
on conflict (collector) do update set seq = excluded.seq`

// ShippedStore keeps how far collectors of decisions have come.
type ShippedStore struct{ pool *connection.Pool }

// ShippedSeq is up to which seq decisions have been shipped to a collector, 0 for none.
func (s ShippedStore) ShippedSeq(ctx context.Context, collector string) (int64, error) {
	var seq int64
	err := s.pool.QueryRow(ctx, "select seq from gatehouse.shipped where collector = $1", collector).Scan(&seq)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, connection.Explain(ctx, fmt.Errorf("reading how far a collector has come: %w", err))
	}
	return seq, nil
}

// SetShippedSeq keeps how far a collector has come.
func (s ShippedStore) SetShippedSeq(ctx context.Context, collector string, seq int64) error {
	_, err := s.pool.Exec(ctx, setShippedSQL, collector, seq)
	if err != nil {
		return connection.Explain(ctx, fmt.Errorf("keeping how far a collector has come: %w", err))
	}
	return nil
}
