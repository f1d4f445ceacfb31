package replay

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// Source reads recorded decisions.
type Source interface {
	Decisions(ctx context.Context, q ledger.Query) ([]ledger.Decision, error)
}

// Rules are what a candidate evaluates. ReadPointers are the places of the input that a hook's verdict depends on.
type Rules interface {
	admission.Evaluable
	HasHook(hook string) bool
	ReadPointers(hook string) []string
}

// Candidate is a checked set of policies.
type Candidate struct {
	Rules    Rules  `json:"-"`
	Revision string `json:"revision"`
	Source   string `json:"source"`
}

// Options of a run. Zero values stand for the defaults.
type Options struct {
	Filter   ledger.Filter
	Limit    int // most decisions that are read; 0 for all
	Examples int // of each flip, the newest; 0 for none

	Evaluator admission.Evaluator // its Timeout is 2 s by default
	Parallel  int                 // evaluations at once; GOMAXPROCS
	// Progress hears of every page that is done, from one goroutine at a time. It must not block.
	Progress func(Progress)
}

// Progress is how far a run is. The times are of decisions.
type Progress struct {
	Read    int64
	Newest  time.Time // that was read
	Reached time.Time // the oldest that was read
	Oldest  time.Time // there is to read
}

// Fraction is how much is done, from 0 to 1: of the time between the newest and the oldest decision that there is to read,
// or of the limit. How many decisions there are is not known.
func (o Options) Fraction(p Progress) float64 {
	var done float64
	if p.Read > 0 {
		done = 1
		if all := p.Newest.Sub(p.Oldest); all > 0 {
			done = float64(p.Newest.Sub(p.Reached)) / float64(all)
		}
	}
	if o.Limit > 0 {
		done = max(done, float64(p.Read)/float64(o.Limit))
	}
	return max(0, min(done, 1))
}

// oldest is when the oldest decision was made that there is to read; the zero time if there is none.
func oldest(ctx context.Context, source Source, filter ledger.Filter) (time.Time, error) {
	found, err := source.Decisions(ctx, ledger.Query{Filter: filter, OldestFirst: true, Limit: 1})
	if err != nil {
		return time.Time{}, fmt.Errorf("reading decisions: %w", err)
	}
	if len(found) == 0 {
		return time.Time{}, nil
	}
	return found[0].Decision.At, nil
}

// Run evaluates what is selected. When ctx ends or the source fails, the report is of what was done until then, and
// comes with the error.
func Run(ctx context.Context, source Source, candidate Candidate, o Options) (Report, error) {
	o.Parallel = cmp.Or(o.Parallel, runtime.GOMAXPROCS(0))
	o.Evaluator.Timeout = cmp.Or(o.Evaluator.Timeout, 2*time.Second)
	pages := make(chan []ledger.Decision, 1) // one is read while others are evaluated
	t := newTally(candidate, o)
	if o.Progress != nil {
		var err error
		t.oldest, err = oldest(ctx, source, o.Filter)
		if err != nil {
			return t.finish(), err
		}
	}

	group, working := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(pages)
		return read(working, source, o, pages)
	})
	for range o.Parallel {
		group.Go(func() error {
			for page := range pages {
				err := t.page(working, page)
				if err != nil {
					return err
				}
			}
			return working.Err()
		})
	}
	err := group.Wait()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return t.finish(), err
}

const (
	firstPage = 64
	maxPage   = 1000
	// pageBytes bounds what a page holds of inputs: they are of any size up to that of a request.
	pageBytes = 4 << 20
)

// read sends pages until there are no more, each of a size that follows from the inputs of the one before.
func read(ctx context.Context, source Source, o Options, pages chan<- []ledger.Decision) error {
	query := ledger.Query{Filter: o.Filter, Limit: firstPage}
	for left := o.Limit; ; {
		if o.Limit > 0 {
			query.Limit = min(query.Limit, left)
		}
		page, err := source.Decisions(ctx, query)
		if err != nil {
			return fmt.Errorf("reading decisions: %w", err)
		}
		if len(page) == 0 {
			return nil
		}
		select {
		case pages <- page:
		case <-ctx.Done():
			return ctx.Err()
		}
		left -= len(page)
		if len(page) < query.Limit || o.Limit > 0 && left <= 0 {
			return nil
		}
		query.After = page[len(page)-1].Decision.ID
		query.Limit = nextLimit(page)
	}
}

func nextLimit(page []ledger.Decision) int {
	bytes := 1
	for i := range page {
		bytes += len(page[i].Decision.Input)
	}
	return max(1, min(maxPage, pageBytes*len(page)/bytes))
}
