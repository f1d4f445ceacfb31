package replay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// RunStatus is one run as callers see it.
type RunStatus struct {
	ID         uuid.UUID   `json:"id"`
	State      RunState    `json:"state"`
	Caller     string      `json:"caller"` // "" if callers are not authenticated
	Candidate  Candidate   `json:"candidate"`
	Since      time.Time   `json:"since"`
	Until      *time.Time  `json:"until"`
	StartedAt  time.Time   `json:"started_at"`
	FinishedAt *time.Time  `json:"finished_at"`
	Progress   RunProgress `json:"progress"`
	Report     *Report     `json:"report"` // nil while it runs and in lists; of what was done, where it was cancelled or has failed
	Error      string      `json:"error,omitempty"`
}

// RunState says whether a run goes on, or how it ended.
type RunState string

// A run is running until it ends in one of the other states.
const (
	RunRunning   RunState = "running"
	RunFinished  RunState = "finished"
	RunCancelled RunState = "cancelled" // by a caller, or because the server stops
	RunFailed    RunState = "failed"    // its records could not be read
)

// RunProgress is how far a run is. Fraction is of the time in which there are decisions to read, or of the limit.
type RunProgress struct {
	Read     int64   `json:"read"`
	Fraction float64 `json:"fraction"`
}

// ErrNoRun says that no run has the id that was asked for, or that it is no longer kept.
var ErrNoRun = errors.New("no such replay")

// keptRuns are kept in memory. A report takes 1 to 100 kB.
const keptRuns = 20

// RunsOptions are what Runs need.
type RunsOptions struct {
	Records   Source
	Evaluator admission.Evaluator
	Now       func() time.Time
	Logger    *slog.Logger
}

// Runs run replays beside live reviews: one at a time, and one evaluation at a time. The last ones are kept in memory.
// Runs are safe for concurrent use.
type Runs struct {
	options RunsOptions

	mutex   sync.Mutex
	runs    []*run // oldest first
	ended   bool
	working sync.WaitGroup
}

// run is one replay. What is under mutex changes while it runs.
type run struct {
	id     uuid.UUID
	cancel context.CancelFunc
	done   chan struct{}

	mutex  sync.Mutex
	status RunStatus
}

// NewRuns makes Runs that have run nothing.
func NewRuns(options RunsOptions) *Runs { return &Runs{options: options} }

// Vacant is nil if a run could start now, else the *admission.Error that Start would give.
func (r *Runs) Vacant() error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.vacantLocked()
}

func (r *Runs) vacantLocked() error {
	if r.ended {
		return &admission.Error{Code: admission.CodeNotReady, Detail: "the server is stopping"}
	}
	if len(r.runs) > 0 && r.runs[len(r.runs)-1].now(false).State == RunRunning {
		return &admission.Error{Code: admission.CodeReplayRunning, Detail: "another replay is running; one runs at a time"}
	}
	return nil
}

// Start begins a run that goes on after its request.
func (r *Runs) Start(candidate Candidate, options Options, caller string) (RunStatus, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return RunStatus{}, fmt.Errorf("making a replay id: %w", err)
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	err = r.vacantLocked()
	if err != nil {
		return RunStatus{}, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	started := &run{id: id, cancel: cancel, done: make(chan struct{}), status: RunStatus{
		ID: id, State: RunRunning, Caller: caller, Candidate: candidate, Since: options.Filter.Since, StartedAt: r.options.Now().UTC(),
	}}
	if !options.Filter.Until.IsZero() {
		started.status.Until = &options.Filter.Until
	}
	r.runs = append(r.runs, started)
	r.runs = r.runs[max(0, len(r.runs)-keptRuns):]
	r.working.Go(func() {
		defer close(started.done)
		defer cancel()
		r.work(ctx, started, candidate, options)
	})
	return started.now(false), nil
}

func (r *Runs) work(ctx context.Context, run *run, candidate Candidate, options Options) {
	options.Evaluator, options.Parallel = r.options.Evaluator, 1
	options.Progress = func(p Progress) {
		run.change(func(status *RunStatus) {
			status.Progress = RunProgress{Read: p.Read, Fraction: options.Fraction(p)}
		})
	}
	report, err := Run(ctx, r.options.Records, candidate, options)
	ended := r.options.Now().UTC()
	run.change(func(status *RunStatus) {
		status.FinishedAt, status.Report, status.State = &ended, &report, RunFinished
		status.Progress.Read = report.Read
		switch {
		case ctx.Err() != nil && err != nil:
			status.State = RunCancelled
		case err != nil: // what lies behind it can name hosts and SQL
			status.State, status.Error = RunFailed, "the recorded decisions cannot be read"
		default:
			status.Progress.Fraction = 1
		}
	})
	if err != nil && ctx.Err() == nil {
		r.options.Logger.Error("a replay failed", "replay_id", run.id, "error", err)
	}
}

// List is what is kept, newest first, without the reports.
func (r *Runs) List() []RunStatus {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	all := make([]RunStatus, 0, len(r.runs))
	for _, run := range slices.Backward(r.runs) {
		all = append(all, run.now(false))
	}
	return all
}

// Status is one run with its report, or ErrNoRun.
func (r *Runs) Status(id uuid.UUID) (RunStatus, error) {
	run, err := r.find(id)
	if err != nil {
		return RunStatus{}, err
	}
	return run.now(true), nil
}

// Cancel ends a run and waits until it has ended. What is done already stays as it is. Its error is ErrNoRun or ctx's.
func (r *Runs) Cancel(ctx context.Context, id uuid.UUID) (RunStatus, error) {
	run, err := r.find(id)
	if err != nil {
		return RunStatus{}, err
	}
	run.cancel()
	select {
	case <-run.done:
		return run.now(true), nil
	case <-ctx.Done():
		return RunStatus{}, ctx.Err()
	}
}

func (r *Runs) find(id uuid.UUID) (*run, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	at := slices.IndexFunc(r.runs, func(run *run) bool { return run.id == id })
	if at < 0 {
		return nil, ErrNoRun
	}
	return r.runs[at], nil
}

// End cancels what is running and waits until it has ended. After that nothing starts.
func (r *Runs) End() {
	r.mutex.Lock()
	r.ended = true
	for _, run := range r.runs {
		run.cancel()
	}
	r.mutex.Unlock()
	r.working.Wait()
}

func (r *run) change(with func(*RunStatus)) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	with(&r.status)
}

// now is the run's status at this moment, with its report if there is one.
func (r *run) now(report bool) RunStatus {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	status := r.status
	if !report {
		status.Report = nil
	}
	return status
}
