package announce

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/molecule-ai/gatehouse/adapters/announce/queue"
	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
)

// worker takes jobs to their sinks.
//
// A failed job is put off ("snoozed") and not reported to River as failed. River would add each error to the job's row: a
// day of retries makes a row of hundreds of kilobytes, and every attempt writes all of it. The job's history says what
// must be known of past attempts, and stays small.
type worker struct {
	river.WorkerDefaults[sinks.Job]
	lanes   map[string]*lane
	queues  func(ctx context.Context) (queue.Control, error)
	log     *slog.Logger
	observe func(sink, result string)
}

// Timeout is how long River lets an attempt take.
func (w *worker) Timeout(job *river.Job[sinks.Job]) time.Duration {
	lane := w.lanes[job.Args.Sink]
	if lane == nil {
		return attemptTimeout
	}
	return lane.timeout
}

func (w *worker) Work(ctx context.Context, job *river.Job[sinks.Job]) error {
	lane := w.lanes[job.Args.Sink]
	if lane == nil {
		return fmt.Errorf("there is no sink %q", job.Args.Sink)
	}
	wait := lane.hold.remaining()
	if wait > 0 {
		return river.JobSnooze(spread(wait))
	}
	if lane.pause.known(ctx, w.queues, job.Args.Sink) {
		return river.JobSnooze(spread(askAgain))
	}
	leave, wait := lane.slots.take(ctx, job.Args.WorkspaceID)
	if leave == nil {
		return river.JobSnooze(wait)
	}
	defer leave()

	err := deliver(ctx, lane.sink, job.Args)
	if err == nil {
		w.observe(job.Args.Sink, Delivered)
		return nil
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		// The relay is stopping. River puts the job back as if it had not begun.
		return fmt.Errorf("delivery was interrupted: %w", ctx.Err())
	}
	return w.failed(ctx, lane, job, err)
}

// deliver turns a panic into an error. River would count a panic as one of its own attempts, and after the last of them drop
// the announcement without telling anybody.
func deliver(ctx context.Context, sink sinks.Sink, job sinks.Job) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic: %v", cause)
		}
	}()
	return sink.Deliver(ctx, job)
}

// noteTimeout is for writing down a failed attempt. The attempt's own time may be over.
const noteTimeout = 5 * time.Second

func (w *worker) failed(ctx context.Context, lane *lane, job *river.Job[sinks.Job], cause error) error {
	notes, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
	defer cancel()
	past := queue.ReadHistory(job.JobRow)
	past.Failures++
	past.Error = cause.Error()
	log := w.log.With("event_id", job.Args.EventID, "sink", job.Args.Sink, "workspace_id", job.Args.WorkspaceID,
		"attempt", past.Failures, "error", past.Error)

	var gone sinks.GoneError
	if errors.As(cause, &gone) {
		return w.putOff(ctx, past, w.gone(notes, lane, job.Args.Sink, log), log)
	}
	now := time.Now()
	began, err := w.retriesBegan(notes, lane, job, past)
	if err != nil {
		// Without knowing when its retries began, an announcement is not given up.
		log.WarnContext(ctx, "looking for when retries began", "cause", err)
		return w.putOff(ctx, past, lane.retry.delay(past.Failures), log)
	}
	if began.IsZero() {
		began = now
	}
	past.FirstFailed = began
	if now.Sub(began) >= lane.retry.For {
		return w.dead(ctx, job.Args.Sink, past, now.Sub(began), cause, log)
	}
	delay := lane.retry.delay(past.Failures)
	var later sinks.LaterError
	if errors.As(cause, &later) && later.After > 0 {
		lane.hold.extend(later.After)
		delay = spread(later.After)
	}
	w.observe(job.Args.Sink, Retried)
	return w.putOff(ctx, past, delay, log)
}

// putOff keeps the attempt's history and has the job come again.
func (w *worker) putOff(ctx context.Context, past queue.History, delay time.Duration, log *slog.Logger) error {
	err := river.RecordOutput(ctx, past)
	if err != nil {
		return fmt.Errorf("recording a failed attempt: %w", err)
	}
	log.WarnContext(ctx, "announcement was not delivered", "retry_in", delay)
	return river.JobSnooze(delay)
}

func (w *worker) dead(
	ctx context.Context, sink string, past queue.History, retried time.Duration, cause error, log *slog.Logger,
) error {
	err := river.RecordOutput(ctx, past)
	if err != nil {
		return fmt.Errorf("recording the last attempt: %w", err)
	}
	w.observe(sink, Dead)
	log.ErrorContext(ctx, "announcement is dead", "retried_for", retried)
	return river.JobCancel(fmt.Errorf("given up after attempt %d: %w", past.Failures, cause))
}

// goneHold is for jobs that this process fetched before the sink was disabled. They wait until the queue is known to be
// paused.
const goneHold = 2 * time.Second

// gone disables the sink. The announcement is neither failed nor dead: it waits
// until the sink is enabled.
func (w *worker) gone(ctx context.Context, lane *lane, sink string, log *slog.Logger) time.Duration {
	lane.disable.Lock()
	defer lane.disable.Unlock()
	lane.hold.extend(goneHold)
	w.observe(sink, Retried)
	queues, err := w.queues(ctx)
	first := false
	if err == nil {
		first, err = queue.Disable(ctx, queues, sink, "the receiver answered 410 Gone")
	}
	switch {
	case err != nil:
		log.WarnContext(ctx, "sink could not be disabled", "cause", err)
	case first:
		log.ErrorContext(ctx, "sink is disabled: its receiver wants no more events; announcements wait until it is enabled again")
	}
	return goneHold
}

// retriesBegan is when the time for job's retries began, zero if with this attempt.
// It begins anew when an operator retries an announcement that was given up, or
// enables a disabled sink.
func (w *worker) retriesBegan(
	ctx context.Context, lane *lane, job *river.Job[sinks.Job], past queue.History,
) (time.Time, error) {
	began := past.FirstFailed
	for _, given := range job.Errors {
		// River notes an error only when a job is given up, or was left by a killed process.
		if given.At.After(began) {
			began = time.Time{}
		}
	}
	if began.IsZero() || time.Since(began) < lane.retry.For {
		return began, nil
	}
	// This asks the database, so it is done only before a job is given up.
	queues, err := w.queues(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("finding the queue: %w", err)
	}
	enabled, err := queue.EnabledAt(ctx, queues, job.Args.Sink)
	if err != nil {
		return time.Time{}, err
	}
	if enabled.After(began) {
		began = enabled
	}
	return began, nil
}

// spread adds a random share, so that jobs that wait for the same moment do not come back together.
func spread(wait time.Duration) time.Duration {
	return wait + rand.N(wait/10+100*time.Millisecond)
}

// undeliverable hears of jobs that cannot be read, because a newer version of the program wrote them.
type undeliverable struct {
	log     *slog.Logger
	observe func(sink, result string)
}

func (u undeliverable) HandleError(ctx context.Context, row *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	sink := queue.SinkOf(row.Queue)
	log := u.log.With("job_id", row.ID, "sink", sink, "attempt", row.Attempt, "error", err)
	if row.Attempt >= row.MaxAttempts {
		u.observe(sink, Dead)
		log.ErrorContext(ctx, "announcement is dead")
		return nil
	}
	u.observe(sink, Retried)
	log.WarnContext(ctx, "announcement cannot be read")
	return nil
}

func (u undeliverable) HandlePanic(
	ctx context.Context, row *rivertype.JobRow, cause any, _ string,
) *river.ErrorHandlerResult {
	return u.HandleError(ctx, row, fmt.Errorf("panic: %v", cause))
}
