package history

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/molecule-ai/gatehouse/adapters/postgres/connection"
	"github.com/molecule-ai/gatehouse/server/retention"
)

const setPruneClockSQL = `
insert into gatehouse.prune_clock (trusted, doubted) values ($1, $2)
on conflict (only_one) do update set trusted = excluded.trusted, doubted = excluded.doubted`

// PruneClock is the zero Clock before the first was kept.
func (r Retention) PruneClock(ctx context.Context) (retention.Clock, error) {
	var clock retention.Clock
	var doubted *time.Time
	err := r.pool.QueryRow(ctx, "select trusted, doubted from gatehouse.prune_clock").Scan(&clock.Trusted, &doubted)
	if errors.Is(err, pgx.ErrNoRows) {
		return retention.Clock{}, nil
	}
	if err != nil {
		return retention.Clock{}, connection.Explain(ctx, fmt.Errorf("reading when decisions were last deleted: %w", err))
	}
	if doubted != nil {
		clock.Doubted = *doubted
	}
	return clock, nil
}

// SetPruneClock keeps it.
func (r Retention) SetPruneClock(ctx context.Context, clock retention.Clock) error {
	var doubted *time.Time
	if !clock.Doubted.IsZero() {
		doubted = &clock.Doubted
	}
	_, err := r.pool.Exec(ctx, setPruneClockSQL, clock.Trusted, doubted)
	if err != nil {
		return connection.Explain(ctx, fmt.Errorf("keeping when decisions were last deleted: %w", err))
	}
	return nil
}
