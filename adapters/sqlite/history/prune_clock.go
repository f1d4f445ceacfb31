package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/molecule-ai/gatehouse/adapters/sqlite/connection"
	"github.com/molecule-ai/gatehouse/server/retention"
)

// PruneClock is the zero Clock before the first was kept.
func (r Retention) PruneClock(ctx context.Context) (retention.Clock, error) {
	var trusted, doubted sql.Null[string]
	err := r.file.Readers.QueryRowContext(ctx, `select trusted, doubted from prune_clock`).Scan(&trusted, &doubted)
	if errors.Is(err, sql.ErrNoRows) {
		return retention.Clock{}, nil
	}
	var clock retention.Clock
	if err == nil {
		clock.Trusted, err = time.Parse(connection.TimeLayout, trusted.V)
	}
	if err == nil && doubted.Valid {
		clock.Doubted, err = time.Parse(connection.TimeLayout, doubted.V)
	}
	if err != nil {
		return retention.Clock{}, fmt.Errorf("reading when decisions were last deleted: %w", connection.Explain(ctx, err))
	}
	return clock, nil
}

// SetPruneClock keeps it.
func (r Retention) SetPruneClock(ctx context.Context, clock retention.Clock) error {
	doubted := sql.Null[string]{V: connection.TimeText(clock.Doubted), Valid: !clock.Doubted.IsZero()}
	_, err := r.file.Writer.ExecContext(ctx, `
		insert into prune_clock (only_one, trusted, doubted) values (1, $1, $2)
		on conflict (only_one) do update set trusted = excluded.trusted, doubted = excluded.doubted`,
		connection.TimeText(clock.Trusted), doubted)
	if err != nil {
		return fmt.Errorf("keeping when decisions were last deleted: %w", connection.Explain(ctx, err))
	}
	return nil
}
