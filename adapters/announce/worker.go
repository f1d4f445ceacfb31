package announce

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// worker takes jobs to their sinks.
//
// A failed job is put off ("snoozed") and not reported to River as failed: River
// would add the error to the job's row each time, and a day of retries makes a
// row of hundreds of kilobytes that every attempt writes anew. What has to be
// known of the past attempts is in history, which stays small.
type worker struct {
	river.WorkerDefaults[Job]
	sinks   map[string]Sink
	retry   Retry
	log     *slog.Logger
	observe func(sink, result string)
}

// history is what a job's row tells of its failed attempts.
type history struct {
	Failures    int       `json:"failures"`
	FirstFailed time.Time `json:"first_failed"`
	Error       string    `json:"error"` // of the last one
}

func (w *worker) Work(ctx context.Context, job *river.Job[Job]) error {
	err := w.deliver(ctx, job.Args)
	if err == nil {
		w.observe(job.Args.Sink, Delivered)
		return nil
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		// The relay is stopping. River puts the job back as if it had not begun.
		return fmt.Errorf("delivery was interrupted: %w", ctx.Err())
	}
	return w.failed(ctx, job, err)
}

// deliver makes a panic an error like any other: River would count it as one of
// its own attempts and, after the last, drop the announcement without a word.
func (w *worker) deliver(ctx context.Context, job Job) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic: %v", cause)
		}
	}()
	sink := w.sinks[job.Sink]
	if sink == nil {
		return errors.New("there is no sink of this name")
	}
	return sink.Deliver(ctx, job)
}

func (w *worker) failed(ctx context.Context, job *river.Job[Job], cause error) error {
	past := readHistory(job.JobRow)
	now := time.Now()
	if past.Failures == 0 {
		past.FirstFailed = now
	}
	past.Failures++
	past.Error = cause.Error()
	log := w.log.With("event_id", job.Args.EventID, "sink", job.Args.Sink, "workspace_id", job.Args.WorkspaceID,
		"attempt", past.Failures, "error", past.Error)

	if now.Sub(past.FirstFailed) >= w.retry.For {
		w.observe(job.Args.Sink, Dead)
		log.ErrorContext(ctx, "announcement is dead", "retried_for", now.Sub(past.FirstFailed))
		return river.JobCancel(fmt.Errorf("given up after attempt %d: %w", past.Failures, cause))
	}
	err := river.RecordOutput(ctx, past)
	if err != nil {
		return fmt.Errorf("recording a failed attempt: %w", err)
	}
	delay := w.retry.delay(past.Failures)
	w.observe(job.Args.Sink, Retried)
	log.WarnContext(ctx, "announcement was not delivered", "retry_in", delay)
	return river.JobSnooze(delay)
}

// readHistory takes an unreadable history for none: retries then begin anew,
// which is better than no delivery.
func readHistory(row *rivertype.JobRow) history {
	var metadata struct {
		Output history `json:"output"`
	}
	err := json.Unmarshal(row.Metadata, &metadata)
	if err != nil {
		return history{}
	}
	return metadata.Output
}

// undeliverable hears of jobs that never reach the worker, because a newer
// version of the program wrote them.
type undeliverable struct {
	log     *slog.Logger
	observe func(sink, result string)
}

func (u undeliverable) HandleError(ctx context.Context, row *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	sink := row.Queue[min(len(queuePrefix), len(row.Queue)):]
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
