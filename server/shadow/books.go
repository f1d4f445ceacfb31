package shadow

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"
)

// counts is what has been counted and not yet been stored.
type counts struct {
	mu   sync.Mutex
	open map[Pair]Counts
}

func (c *counts) add(pair Pair, more Counts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open = make(map[Pair]Counts)
	}
	sum := c.open[pair]
	sum.Evaluated += more.Evaluated
	sum.Diverged += more.Diverged
	sum.Failed += more.Failed
	sum.Dropped += more.Dropped
	c.open[pair] = sum
}

func (c *counts) take() map[Pair]Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.open
	c.open = nil
	return taken
}

// keep stores a divergence in a batch with others. It returns at once, unless maxWriting divergences wait already.
func (s *Shadow) keep(d Divergence) {
	s.options.Meter.Diverged(d.Kind, d.Code)
	s.writing.Go(func() error {
		id, err := uuid.NewV7()
		if err == nil {
			d.ID = id
			limited, cancel := context.WithTimeout(context.Background(), writeTimeout)
			defer cancel()
			_, err = s.records.Do(limited, d)
		}
		if err != nil {
			s.options.Meter.RecordFailed()
			s.options.Logger.Warn("a divergence of the shadow could not be stored", "decision_id", d.DecisionID.String(), "error", err)
		}
		return nil
	})
}

// flush waits between batches, because decisions share the store and requests wait for their commits. It does not wait once
// the shadow ends.
func (s *Shadow) flush(ctx context.Context, batch []Divergence) ([]struct{}, error) {
	pause := time.NewTimer(time.Until(s.wrote.Add(s.options.Pace)))
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-s.working.Done():
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	err := s.options.Store.RecordDivergences(ctx, batch)
	s.wrote = time.Now()
	s.untidy.Store(true)
	return make([]struct{}, len(batch)), err
}

// keepBooks stores counts and deletes old divergences from time to time.
func (s *Shadow) keepBooks() {
	report, tidy := time.NewTicker(s.options.Report), time.NewTicker(s.options.Tidy)
	defer report.Stop()
	defer tidy.Stop()
	for {
		select {
		case <-s.working.Done():
			return
		case <-report.C:
			s.report(s.working)
		case <-tidy.C:
			s.tidy(s.working)
		}
	}
}

// report stores the counts. What cannot be stored is kept for the next time.
func (s *Shadow) report(ctx context.Context) {
	taken := s.counts.take()
	if len(taken) == 0 {
		return
	}
	limited, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	err := s.options.Store.AddShadowCounts(limited, s.options.Now(), taken)
	if err == nil {
		return
	}
	for pair, sum := range taken {
		s.counts.add(pair, sum)
	}
	if ctx.Err() == nil {
		s.options.Logger.Warn("the counts of the shadow could not be stored", "error", err)
	}
}

func (s *Shadow) tidy(ctx context.Context) {
	if !s.untidy.Swap(false) {
		return
	}
	limited, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	_, err := s.options.Store.PruneDivergences(limited, s.options.Now().Add(-keptFor), keptDivergences)
	if err == nil {
		return
	}
	s.untidy.Store(true)
	if ctx.Err() == nil {
		s.options.Logger.Warn("old divergences could not be deleted", "error", err)
	}
}
