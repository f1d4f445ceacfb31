package audit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"golang.org/x/time/rate"

	"github.com/molecule-ai/gatehouse/internal/parallel"
	"github.com/molecule-ai/gatehouse/server/admission"
)

const (
	// maxPage bounds memory, and the work that is repeated after a process was killed.
	maxPage = 1000
	// burst is the part of a second's workspaces that may start at once: timers are too coarse for thousands a second.
	burst = 50
	// savePatience is how long a run that was told to stop may take to save what it has.
	savePatience = 5 * time.Second
)

// run is one process's work on a run.
type run struct {
	audit *Audit
	state Run
	given Ruleset
	rules *registering    // nil until the columns of a row are known
	gate  *admission.Gate // nil: nothing is enforced
	pace  *rate.Limiter
	page  int // workspaces
	since time.Time
	spent time.Duration // by those that worked on it before

	disagreed    int64 // workspaces, of those that this process looked at
	disagreement error // the last
}

func (a *Audit) newWork(state Run, rules Ruleset) *run {
	r := &run{
		audit: a, state: state, given: rules, pace: rate.NewLimiter(rate.Inf, 0), page: maxPage,
		since: a.options.Now(), spent: state.Worked,
	}
	if perSecond := a.options.Rate; perSecond > 0 {
		r.pace = rate.NewLimiter(rate.Limit(perSecond), max(1, perSecond/burst))
		r.page = min(maxPage, perSecond) // or a slow run would save nothing for minutes
	}
	if r.state.Violations == nil {
		r.state.Violations = make(map[string]int64)
	}
	return r
}

// prepare makes policies for the columns that rows have. All have the same.
func (r *run) prepare(ctx context.Context, page []StoredWorkspace) error {
	at := slices.IndexFunc(page, func(w StoredWorkspace) bool { return w.Facts.Exists })
	if r.rules != nil || at < 0 {
		return nil
	}
	var row map[string]jsontext.Value
	err := json.Unmarshal(page[at].Facts.Workspace, &row)
	if err != nil {
		return fmt.Errorf("reading the columns of a stored workspace: %w", err)
	}
	rules, notJudged, err := registeringAs(ctx, r.given, slices.Collect(maps.Keys(row)))
	if err != nil {
		return err
	}
	r.rules, r.state.NotJudged = &rules, notJudged
	if r.audit.options.Gate != nil {
		gate := *r.audit.options.Gate
		gate.Policy = r.rules
		r.gate = &gate
	}
	for _, rule := range notJudged {
		r.audit.options.Logger.Info("a rule is not judged in audits", "audit_id", r.state.ID, "rule", rule.Rule, "code", rule.Code, "reads", rule.Reads)
	}
	return nil
}

// listed is a page of workspaces, or why there is none.
type listed struct {
	page []StoredWorkspace
	err  error
}

// pages looks at all workspaces that the run has not seen yet.
func (r *run) pages(ctx context.Context) error {
	reading, stop := context.WithCancel(ctx)
	var reader sync.WaitGroup
	defer reader.Wait()
	defer stop()
	read := func(after uuid.UUID) <-chan listed { // while another page is evaluated
		ahead := make(chan listed, 1)
		reader.Go(func() {
			page, err := r.audit.options.Workspaces.WorkspacesAfter(reading, after, r.page)
			ahead <- listed{page, err}
		})
		return ahead
	}
	ahead := read(r.state.Cursor)
	for {
		next := <-ahead
		if next.err != nil {
			return fmt.Errorf("reading stored workspaces: %w", next.err)
		}
		if len(next.page) == 0 {
			return nil
		}
		ahead = read(next.page[len(next.page)-1].ID)
		err := r.prepare(ctx, next.page)
		if err != nil {
			return err
		}
		err = r.lookAt(ctx, next.page)
		if err != nil {
			return err
		}
	}
}

// lookAt looks at a page and saves what it found, or what it found until ctx ended.
func (r *run) lookAt(ctx context.Context, page []StoredWorkspace) error {
	results := make([]result, len(page))
	stopped := parallel.Each(ctx, r.audit.options.Parallel, len(page), func(ctx context.Context, i int) (err error) {
		results[i], err = r.look(ctx, page[i])
		return err
	})

	var findings []Finding
	for i := range results {
		if !results[i].seen {
			break
		}
		r.state.Cursor = page[i].ID
		if r.count(&results[i]) {
			findings = append(findings, results[i].Finding)
		}
	}
	return errors.Join(r.save(ctx, findings), stopped)
}

// save saves also after ctx ended, but not after the lock was lost: then another process resumes from what was saved before.
func (r *run) save(ctx context.Context, findings []Finding) error {
	if errors.Is(context.Cause(ctx), ErrLost) {
		return ErrLost
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), savePatience)
	defer cancel()
	r.state.UpdatedAt = r.audit.now()
	r.state.Worked = r.spent + r.audit.options.Now().Sub(r.since)
	err := r.audit.options.Runs.SaveAudit(limited, r.state, findings)
	if err != nil {
		return fmt.Errorf("saving the audit: %w", err)
	}
	r.audit.options.Progress(r.state)
	return nil
}

func (r *run) finish(ctx context.Context) error {
	finished := r.audit.now()
	r.state.State, r.state.FinishedAt = Finished, &finished
	err := r.save(ctx, nil)
	if err != nil {
		return err
	}
	err = r.audit.options.Runs.PruneAudits(ctx, Kept)
	if err != nil {
		return fmt.Errorf("deleting old audits: %w", err)
	}
	if r.disagreed > 0 {
		return fmt.Errorf("the audit is finished, but has no verdict on %d workspaces: %w", r.disagreed, r.disagreement)
	}
	return nil
}
