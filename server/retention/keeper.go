package retention

import (
	"context"
	"log/slog"
	"time"

	"github.com/molecule-ai/gatehouse/server/ledger"
)

// Store deletes old decisions and makes room for new ones, and keeps by which clock.
type Store interface {
	PruneDecisions(ctx context.Context, now, before time.Time) (ledger.Pruned, error)
	PruneClock(ctx context.Context) (Clock, error)
	SetPruneClock(ctx context.Context, clock Clock) error
	Decisions(ctx context.Context, query ledger.Query) ([]ledger.Decision, error)
}

// Meter counts what becomes of it.
type Meter interface {
	Pruned(p ledger.Pruned, err error)
	ClockDoubted(doubted bool)
}

// Keeper prunes at the start and then every hour. An error only delays it: a decision that is too old does no harm for another
// hour, and a server that cannot prune must still answer.
type Keeper struct {
	Store Store
	Keep  time.Duration // 0 for ever; room is made all the same
	Now   func() time.Time
	Meter Meter
	Log   *slog.Logger
}

const (
	pruneInterval = time.Hour
	pruneRetry    = time.Minute // after an error: perhaps the database was only away
	prunePatience = 10 * time.Minute
)

func (k Keeper) Run(ctx context.Context) {
	for ctx.Err() == nil {
		pause := pruneInterval
		err := k.Prune(ctx)
		if err != nil {
			pause = pruneRetry
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func (k Keeper) Prune(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, prunePatience)
	defer cancel()
	now := k.Now()
	before, err := k.before(limited, now)
	var pruned ledger.Pruned
	if err == nil {
		pruned, err = k.Store.PruneDecisions(limited, now, before)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	k.Meter.Pruned(pruned, err)
	if err != nil {
		k.Log.WarnContext(ctx, "old decisions are not deleted; trying again", "error", err, "retry_in", pruneRetry)
		return err
	}
	if pruned.Decisions > 0 || pruned.UIDs > 0 || len(pruned.Partitions) > 0 {
		k.Log.InfoContext(ctx, "old decisions are deleted", "before", before.UTC(), "decisions", pruned.Decisions,
			"uids", pruned.UIDs, "partitions", pruned.Partitions)
	}
	return nil
}

// before gives the time before which decisions are deleted, zero where all are kept. A clock that has leapt is not trusted at
// once: until then the time goes by the last trusted time.
func (k Keeper) before(ctx context.Context, now time.Time) (time.Time, error) {
	if k.Keep == 0 {
		return time.Time{}, nil
	}
	clock, err := k.Store.PruneClock(ctx)
	if err == nil && clock.Trusted.IsZero() {
		clock.Trusted, err = k.newest(ctx, now)
	}
	if err != nil {
		return time.Time{}, err
	}
	clock = clock.At(now)
	err = k.Store.SetPruneClock(ctx, clock)
	if err != nil {
		return time.Time{}, err
	}
	doubted := !clock.Doubted.IsZero()
	k.Meter.ClockDoubted(doubted)
	if doubted {
		k.Log.WarnContext(ctx, "the clock is far ahead of when old decisions were last deleted; until it is mended or goes on like this, those of before stay",
			"clock", now.UTC(), "last", clock.Trusted.UTC(), "believed_from", clock.Doubted.Add(Confirmed).UTC())
	}
	return clock.Trusted.Add(-k.Keep), nil
}

// newest is the time of the newest decision, or now if there is none. It stands in where the store has kept no clock yet.
func (k Keeper) newest(ctx context.Context, now time.Time) (time.Time, error) {
	newest, err := k.Store.Decisions(ctx, ledger.Query{Limit: 1})
	if err != nil || len(newest) == 0 {
		return now, err
	}
	return newest[0].Decision.At, nil
}
