package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/retention"
)

// retentionFlags say how long decisions are kept.
type retentionFlags struct {
	Retention time.Duration `help:"How long decisions and the uids of their requests are kept, in whole days and never for less; 0 for ever." default:"720h"`
}

func (f retentionFlags) check() error {
	const least = 24 * time.Hour
	if f.Retention < 0 {
		return errors.New("--retention must not be negative")
	}
	if f.Retention != 0 && f.Retention < least {
		return errors.New("--retention must be at least 24h, or 0 to keep all decisions")
	}
	return nil
}

// decisionPruner deletes old decisions and makes room for new ones, and keeps by which clock.
type decisionPruner interface {
	PruneDecisions(ctx context.Context, now, before time.Time) (admission.Pruned, error)
	PruneClock(ctx context.Context) (retention.Clock, error)
	SetPruneClock(ctx context.Context, clock retention.Clock) error
	Decisions(ctx context.Context, query admission.DecisionQuery) ([]admission.LedgerDecision, error)
}

// pruneMeter counts what becomes of it.
type pruneMeter interface {
	Pruned(p admission.Pruned, err error)
	ClockDoubted(doubted bool)
}

// keeper prunes at the start and then every hour, whatever comes of it: a decision that is too old harms nobody
// for another hour, and a server that cannot prune must still answer.
type keeper struct {
	store decisionPruner
	keep  time.Duration // 0 for ever; room is made all the same
	now   func() time.Time
	meter pruneMeter
	log   *slog.Logger
}

const (
	pruneInterval = time.Hour
	pruneRetry    = time.Minute // after an error: perhaps the database was only away
	prunePatience = 10 * time.Minute
)

func (k keeper) run(ctx context.Context) {
	for ctx.Err() == nil {
		pause := pruneInterval
		err := k.prune(ctx)
		if err != nil {
			pause = pruneRetry
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func (k keeper) prune(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, prunePatience)
	defer cancel()
	now := k.now()
	before, err := k.before(limited, now)
	var pruned admission.Pruned
	if err == nil {
		pruned, err = k.store.PruneDecisions(limited, now, before)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	k.meter.Pruned(pruned, err)
	if err != nil {
		k.log.WarnContext(ctx, "old decisions are not deleted; trying again", "error", err, "retry_in", pruneRetry)
		return err
	}
	if pruned.Decisions > 0 || pruned.UIDs > 0 || len(pruned.Partitions) > 0 {
		k.log.InfoContext(ctx, "old decisions are deleted", "before", before.UTC(), "decisions", pruned.Decisions,
			"uids", pruned.UIDs, "partitions", pruned.Partitions)
	}
	return nil
}

// before gives the time of what is too old, zero where all is kept. A clock that has leapt is not believed at once: then it is
// the time of before the leap.
func (k keeper) before(ctx context.Context, now time.Time) (time.Time, error) {
	if k.keep == 0 {
		return time.Time{}, nil
	}
	clock, err := k.store.PruneClock(ctx)
	if err == nil && clock.Trusted.IsZero() {
		clock.Trusted, err = k.newest(ctx, now)
	}
	if err != nil {
		return time.Time{}, err
	}
	clock = clock.At(now)
	err = k.store.SetPruneClock(ctx, clock)
	if err != nil {
		return time.Time{}, err
	}
	doubted := !clock.Doubted.IsZero()
	k.meter.ClockDoubted(doubted)
	if doubted {
		k.log.WarnContext(ctx, "the clock is far ahead of when old decisions were last deleted; until it is mended or goes on like this, those of before stay",
			"clock", now.UTC(), "last", clock.Trusted.UTC(), "believed_from", clock.Doubted.Add(retention.Confirmed).UTC())
	}
	return clock.Trusted.Add(-k.keep), nil
}

// newest is the time of the newest decision, which a store of before the clock was kept has to go by; now if there is none.
func (k keeper) newest(ctx context.Context, now time.Time) (time.Time, error) {
	newest, err := k.store.Decisions(ctx, admission.DecisionQuery{Limit: 1})
	if err != nil || len(newest) == 0 {
		return now, err
	}
	return newest[0].Decision.At, nil
}
