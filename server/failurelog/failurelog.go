// Package failurelog records the reviews that failed, after their answers.
package failurelog

import (
	"context"
	"log/slog"
	"time"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// Meter counts what becomes of the records of reviews that failed.
type Meter interface {
	FailureKept(written bool)
	Unmasked()
}

// Log writes the records of failed reviews after their answers, which never wait for it. Records that cannot be written within
// MaxAge, because the store stays away, are lost and counted.
type Log struct {
	ledger  Recorder
	meter   Meter
	log     *slog.Logger
	pending chan admission.FailedReview
}

type Recorder interface {
	Record(ctx context.Context, d admission.Decision) (admission.Decision, error)
}

const (
	// maxPendingFailures is for a store that was away for a moment.
	maxPendingFailures = 1024
	// Patience is how long one record may take.
	Patience = 2 * time.Second
	// MaxAge is how old a review may be that is still recorded. Exports wait no longer than that for late records.
	MaxAge = 2 * time.Minute
)

func New(ledger Recorder, meter Meter, logger *slog.Logger) *Log {
	return &Log{ledger: ledger, meter: meter, log: logger, pending: make(chan admission.FailedReview, maxPendingFailures)}
}

// Failed implements admission.FailureLog.
func (f *Log) Failed(failed admission.FailedReview) {
	select {
	case f.pending <- failed:
	default:
		f.meter.FailureKept(false)
	}
}

// Run writes until ctx ends, and then what is queued.
func (f *Log) Run(ctx context.Context) {
	writing := context.WithoutCancel(ctx)
	for {
		select {
		case failed := <-f.pending:
			f.write(writing, failed)
		case <-ctx.Done():
			f.drain(writing)
			return
		}
	}
}

func (f *Log) drain(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	for {
		select {
		case failed := <-f.pending:
			f.write(limited, failed)
		default:
			return
		}
	}
}

func (f *Log) write(ctx context.Context, failed admission.FailedReview) {
	if time.Since(failed.At()) > MaxAge {
		f.meter.FailureKept(false)
		return
	}
	limited, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	d, unmasked := failed.Record(limited)
	if unmasked != nil {
		f.meter.Unmasked()
	}
	_, err := f.ledger.Record(limited, d)
	f.meter.FailureKept(err == nil)
	if err != nil {
		f.log.Warn("an error that was answered is not recorded", "decision_id", d.ID, "code", d.Failed.Code, "error", err)
	}
}
