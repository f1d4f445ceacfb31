package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"gatehouse/server/admission"
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

// decisionPruner deletes old decisions and makes room for new ones.
type decisionPruner interface {
	PruneDecisions(ctx context.Context, now, before time.Time) (admission.Pruned, error)
}

// pruneMeter counts what becomes of it.
type pruneMeter interface {
	Pruned(p admission.Pruned, err error)
}

// keeper prunes at the start and then every hour, whatever comes of it: a decision that is too old harms nobody
// for another hour, and a server that cannot prune must still answer.
type keeper struct {
	store decisionPruner
	keep  time.Duration // 0 for ever; room is made all the same
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
	now := time.Now()
	var before time.Time
	if k.keep > 0 {
		before = now.Add(-k.keep)
	}
	pruned, err := k.store.PruneDecisions(limited, now, before)
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
