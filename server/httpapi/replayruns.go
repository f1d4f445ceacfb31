package httpapi

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/replay"
)

// Replay is one replay on the wire.
type Replay struct {
	ID         uuid.UUID        `json:"id"`
	State      ReplayState      `json:"state"`
	Caller     string           `json:"caller"` // "" if callers are not authenticated
	Candidate  replay.Candidate `json:"candidate"`
	Since      time.Time        `json:"since"`
	Until      *time.Time       `json:"until"`
	StartedAt  time.Time        `json:"started_at"`
	FinishedAt *time.Time       `json:"finished_at"`
	Progress   ReplayProgress   `json:"progress"`
	Report     *replay.Report   `json:"report"` // nil while it runs and in lists; of what was done, where it was cancelled or has failed
	Error      string           `json:"error,omitempty"`
}

// ReplayState says how a replay is.
type ReplayState string

// A replay is running until it ends in one of the other states.
const (
	ReplayRunning   ReplayState = "running"
	ReplayFinished  ReplayState = "finished"
	ReplayCancelled ReplayState = "cancelled" // by a caller, or because the server stops
	ReplayFailed    ReplayState = "failed"    // its records could not be read
)

// ReplayProgress is how far a replay is. Fraction is of the time in which there are decisions to read, or of the limit.
type ReplayProgress struct {
	Read     int64   `json:"read"`
	Fraction float64 `json:"fraction"`
}

// ReplayList are the replays that are kept, newest first, without their reports.
type ReplayList struct {
	Replays []Replay `json:"replays"`
}

// keptReplays are in memory: a report is of a kilobyte or a hundred.
const keptReplays = 20

// replayRuns has one replay running at a time.
type replayRuns struct {
	options ReplayOptions
	log     *slog.Logger

	mutex   sync.Mutex
	runs    []*replayRun // oldest first
	ended   bool
	working sync.WaitGroup
}

// replayRun is one replay. What is under mutex changes while it runs.
type replayRun struct {
	cancel context.CancelFunc
	done   chan struct{}

	mutex sync.Mutex
	shown Replay
}

func newReplayRuns(options ReplayOptions, log *slog.Logger) *replayRuns {
	return &replayRuns{options: options, log: log}
}

func (r *replayRuns) vacant() error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.vacantLocked()
}

func (r *replayRuns) vacantLocked() error {
	if r.ended {
		return &admission.Error{Code: admission.CodeNotReady, Detail: "the server is stopping"}
	}
	if len(r.runs) > 0 && r.runs[len(r.runs)-1].now(false).State == ReplayRunning {
		return &admission.Error{Code: admission.CodeReplayRunning, Detail: "another replay is running; one runs at a time"}
	}
	return nil
}

// start begins a replay that goes on after its request.
func (r *replayRuns) start(candidate replay.Candidate, options replay.Options, caller string) (Replay, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return Replay{}, fmt.Errorf("making a replay id: %w", err)
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	err = r.vacantLocked()
	if err != nil {
		return Replay{}, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	run := &replayRun{cancel: cancel, done: make(chan struct{}), shown: Replay{
		ID: id, State: ReplayRunning, Caller: caller, Candidate: candidate, Since: options.Filter.Since, StartedAt: r.options.Now().UTC(),
	}}
	if !options.Filter.Until.IsZero() {
		run.shown.Until = &options.Filter.Until
	}
	r.runs = append(r.runs, run)
	r.runs = r.runs[max(0, len(r.runs)-keptReplays):]
	r.working.Go(func() {
		defer close(run.done)
		defer cancel()
		r.work(ctx, run, candidate, options)
	})
	return run.now(false), nil
}

func (r *replayRuns) work(ctx context.Context, run *replayRun, candidate replay.Candidate, options replay.Options) {
	options.Evaluator = r.options.Evaluator
	options.Progress = func(p replay.Progress) {
		run.change(func(shown *Replay) {
			shown.Progress = ReplayProgress{Read: p.Read, Fraction: options.Fraction(p)}
		})
	}
	report, err := replay.Run(ctx, r.options.Records, candidate, options)
	ended := r.options.Now().UTC()
	run.change(func(shown *Replay) {
		shown.FinishedAt, shown.Report, shown.State = &ended, &report, ReplayFinished
		shown.Progress.Read = report.Read
		switch {
		case ctx.Err() != nil && err != nil:
			shown.State = ReplayCancelled
		case err != nil: // what lies behind it can name hosts and SQL
			shown.State, shown.Error = ReplayFailed, "the recorded decisions cannot be read"
		default:
			shown.Progress.Fraction = 1
		}
	})
	if err != nil && ctx.Err() == nil {
		r.log.Error("a replay failed", "replay_id", run.shown.ID, "error", err)
	}
}

func (r *replayRuns) list() []Replay {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	all := make([]Replay, 0, len(r.runs))
	for _, run := range slices.Backward(r.runs) {
		all = append(all, run.now(false))
	}
	return all
}

func (r *replayRuns) find(id uuid.UUID) *replayRun {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for _, run := range r.runs {
		if run.shown.ID == id {
			return run
		}
	}
	return nil
}

// end cancels what is running and waits until it has ended.
func (r *replayRuns) end() {
	r.mutex.Lock()
	r.ended = true
	for _, run := range r.runs {
		run.cancel()
	}
	r.mutex.Unlock()
	r.working.Wait()
}

func (r *replayRun) change(with func(*Replay)) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	with(&r.shown)
}

// now is the replay as it is, with its report if there is one.
func (r *replayRun) now(report bool) Replay {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	shown := r.shown
	if !report {
		shown.Report = nil
	}
	return shown
}
