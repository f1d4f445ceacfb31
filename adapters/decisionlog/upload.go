package decisionlog

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/stream"
)

// Source gives all decisions as they are recorded, also those that are committed late.
type Source interface {
	Subscribe(ctx context.Context, after int64) (
		next func(ctx context.Context) ([]stream.Streamed[admission.Decision], error), err error)
}

// Positions keep how far a collector has come, and which replica uploads to it.
type Positions interface {
	ShippedSeq(ctx context.Context, collector string) (int64, error)
	SetShippedSeq(ctx context.Context, collector string, seq int64) error
	Exclusive(ctx context.Context, name string) (release func(), lost <-chan struct{}, held bool, err error)
}

// UploadResult is what came of one upload.
type UploadResult string

// Accepted: the collector took it. Retried: it is tried again, in smaller parts if it was too large. Refused: it was a
// single event that the collector does not take, and it was passed over.
const (
	Accepted UploadResult = "accepted"
	Retried  UploadResult = "retried"
	Refused  UploadResult = "refused"
)

// UploadOptions say where events go. Zero values of those that have a default stand for it.
type UploadOptions struct {
	URL       string             // of the collector; events are posted to URL/logs, as OPA does
	Token     func() string      // bearer token, asked for with each upload; nil for none
	UserAgent string             // names the program
	MaxBytes  int                // of a compressed upload; 32,768, which is OPA's own
	Labels    map[string]string  // of every event
	Logger    *slog.Logger       // nil for none
	Observe   func(UploadResult) // nil for none; hears of every upload

	Linger  time.Duration // how long an upload waits for more events; 1 s
	Retry   time.Duration // before the first repetition, then twice as long each time up to a minute; 0.5 s
	Standby time.Duration // how often a replica asks whether it is its turn; 5 s
}

const (
	defaultMaxBytes = 32768
	defaultLinger   = time.Second
	defaultRetry    = 500 * time.Millisecond
	defaultStandby  = 5 * time.Second

	postTimeout = 30 * time.Second
	saveTimeout = 2 * time.Second
)

// Uploader sends decisions to a collector, at least once and in about the order of their records. It begins with the
// oldest one that is kept. The store has its position, which moves only once the collector has everything before it. So
// a process that is killed goes on where it was, and may send its last upload again.
//
// One replica uploads at a time.
type Uploader struct {
	options   UploadOptions
	source    Source
	positions Positions
	client    *http.Client
	failing   bool // for the log
}

// NewUploader makes an Uploader, which uploads while it runs.
func NewUploader(source Source, positions Positions, options UploadOptions) *Uploader {
	options.MaxBytes = cmp.Or(options.MaxBytes, defaultMaxBytes)
	options.Linger = cmp.Or(options.Linger, defaultLinger)
	options.Retry = cmp.Or(options.Retry, defaultRetry)
	options.Standby = cmp.Or(options.Standby, defaultStandby)
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	if options.Observe == nil {
		options.Observe = func(UploadResult) {}
	}
	return &Uploader{options: options, source: source, positions: positions, client: newClient()}
}

// Collector is the name under which the store keeps the position. Another URL is another collector.
func (u *Uploader) Collector() string { return u.options.URL }

// rightName names the right to upload to this collector. A store may make a file of it.
func (u *Uploader) rightName() string {
	return fmt.Sprintf("decision-log-%x", sha256.Sum256([]byte(u.Collector())))[:29]
}

// Run uploads until ctx ends.
func (u *Uploader) Run(ctx context.Context) {
	defer u.client.CloseIdleConnections()
	for ctx.Err() == nil {
		err := u.turn(ctx)
		u.note(ctx, err)
		_ = sleep(ctx, jittered(u.options.Standby))
	}
}

// note logs the first of several failures, and their end.
func (u *Uploader) note(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil:
	case err != nil && !u.failing:
		u.failing = true
		u.options.Logger.WarnContext(ctx, "decisions are not uploaded", "collector", u.options.URL, "error", err)
	case err == nil && u.failing:
		u.failing = false
		u.options.Logger.InfoContext(ctx, "decisions are uploaded again", "collector", u.options.URL)
	}
}

// turn uploads as long as it is this replica's turn. It returns at once if another replica uploads.
func (u *Uploader) turn(ctx context.Context) error {
	release, lost, held, err := u.positions.Exclusive(ctx, u.rightName())
	if err != nil || !held {
		return err
	}
	defer release()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-lost:
			cancel(errors.New("another replica may upload now"))
		case <-ctx.Done():
		}
	}()
	for {
		err = u.follow(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !errors.Is(err, stream.ErrTooSlow) {
			return err
		}
	}
}

// follow uploads what is recorded after the position in the store.
func (u *Uploader) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx) // which ends the reader
	defer cancel()
	saved, err := u.positions.ShippedSeq(ctx, u.Collector())
	if err != nil {
		return fmt.Errorf("reading how far the collector has come: %w", err)
	}
	next, err := u.source.Subscribe(ctx, saved)
	if err != nil && admission.AsError(err).Code == admission.CodeMalformedRequest {
		// Everything up to this position was deleted because of its age, and nothing was recorded since.
		saved = 0
		next, err = u.source.Subscribe(ctx, saved)
	}
	if err != nil {
		return fmt.Errorf("following the decisions: %w", err)
	}
	return u.upload(ctx, &backlog{next: next, saved: saved, target: u.options.MaxBytes})
}

func (u *Uploader) upload(ctx context.Context, b *backlog) error {
	for {
		err := b.fill(ctx, u.options.Labels, u.options.Linger)
		if err != nil {
			return err
		}
		for len(b.events) > 0 {
			err = u.send(ctx, b)
			if err != nil {
				return err
			}
		}
		err = u.save(ctx, b)
		if err != nil {
			return err
		}
	}
}

// save writes the position into the store. It does so also while the process ends, so that an accepted upload is not sent
// again.
func (u *Uploader) save(ctx context.Context, b *backlog) error {
	if b.position <= b.saved {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	err := u.positions.SetShippedSeq(ctx, u.Collector(), b.position)
	if err != nil {
		return fmt.Errorf("keeping how far the collector has come: %w", err)
	}
	b.saved = b.position
	return nil
}

// SettledAfter is the most by which a decision may be recorded later than its time, which is when its review began. A
// verdict takes up to --request-timeout of whichever server it is; an error that was answered waits up to
// failurelog.MaxAge for a store that is away. The rest is for clocks that differ.
const SettledAfter = 5 * time.Minute

// Backlog is about how many decisions of a store a collector has not got, and how old the oldest of them is. A decision
// that was never committed counts until the uploader knows that it never will be.
func Backlog(ctx context.Context, store interface {
	stream.DecisionStore
	Positions
}, collector string, now time.Time) (pending int64, oldest time.Duration, err error) {
	shipped, err := store.ShippedSeq(ctx, collector)
	if err != nil {
		return 0, 0, err
	}
	last, err := store.LastDecisionSeq(ctx)
	if err != nil || last <= shipped {
		return 0, 0, err
	}
	first, err := store.DecisionsAfter(ctx, shipped, 1)
	if err != nil || len(first) == 0 {
		return 0, 0, err
	}
	return last - max(shipped, first[0].Seq-1), max(0, now.Sub(first[0].Decision.At)), nil
}
