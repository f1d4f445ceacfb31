package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// maxPause is how long a schedule waits at most before it checks what became of the audit of another process.
const maxPause = time.Minute

// Schedule audits until ctx ends. It begins at once where a run was interrupted or there is none, and else an interval after
// the start of the last run with the same effect and setting, of any process. Runs of candidates do not count.
func (a *Audit) Schedule(ctx context.Context, interval time.Duration) {
	for ctx.Err() == nil {
		wait, err := a.scheduled(ctx, interval)
		if err != nil && ctx.Err() == nil && !errors.Is(err, ErrBusy) {
			a.options.Logger.Warn("the scheduled audit waits", "error", err)
		}
		if err != nil {
			wait = interval
		}
		pause(ctx, min(wait, maxPause))
	}
}

// scheduled audits if it is time, and gives how long it is until then.
func (a *Audit) scheduled(ctx context.Context, interval time.Duration) (time.Duration, error) {
	wait, err := a.untilDue(ctx, interval)
	if err != nil || wait > 0 {
		return wait, err
	}
	err = a.alone(ctx, func(ctx context.Context) error {
		wait, err = a.untilDue(ctx, interval) // another process may have made it meanwhile
		if err != nil || wait > 0 {
			return err
		}
		_, err = a.work(ctx)
		return err
	})
	return wait, err
}

func (a *Audit) untilDue(ctx context.Context, interval time.Duration) (time.Duration, error) {
	runs, err := a.options.Runs.Audits(ctx, Most)
	if err != nil {
		return 0, fmt.Errorf("reading the audits of before: %w", err)
	}
	last := slices.IndexFunc(runs, func(r Run) bool { return r.Enforce == a.enforces() && a.options.live(r) })
	if last < 0 || runs[last].State != Finished {
		return 0, nil
	}
	return max(0, runs[last].StartedAt.Add(interval).Sub(a.options.Now())), nil
}

func pause(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
