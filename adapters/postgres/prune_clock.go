package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/molecule-ai/gatehouse/server/retention"
)

const setPruneClockSQL = `
insert into gatehouse.prune_clock (trusted, doubted) values ($1, $2)
on conflict (only_one) do update set trusted = excluded.trusted, doubted = excluded.doubted`

// PruneClock is the zero Clock before the first was kept.
func (s *Store) PruneClock(ctx context.Context) (retention.Clock, error) {
	var clock retention.Clock
	var doubted *time.Time
	err := s.pool.QueryRow(ctx, "select trusted, doubted from gatehouse.prune_clock").Scan(&clock.Trusted, &doubted)
	if errors.Is(err, pgx.ErrNoRows) {
		return retention.Clock{}, nil
	}
	if err != nil {
		return retention.Clock{}, because(ctx, fmt.Errorf("reading when decisions were last deleted: %w", err))
	}
	if doubted != nil {
		clock.Doubted = *doubted
	}
	return clock, nil
}

// SetPruneClock keeps it.
func (s *Store) SetPruneClock(ctx context.Context, clock retention.Clock) error {
	var doubted *time.Time
	if !clock.Doubted.IsZero() {
		doubted = &clock.Doubted
	}
	_, err := s.pool.Exec(ctx, setPruneClockSQL, clock.Trusted, doubted)
	if err != nil {
		return because(ctx, fmt.Errorf("keeping when decisions were last deleted: %w", err))
	}
	return nil
}
