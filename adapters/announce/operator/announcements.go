// Package operator shows the queue of announcements to operators, and has them retried, discarded, held back and let go again.
package operator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"golang.org/x/sync/errgroup"

	"github.com/molecule-ai/gatehouse/adapters/announce/queue"
	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
)

// Errors of an operator's request.
var (
	ErrUnknownAnnouncement = errors.New("there is no such announcement")
	ErrUnknownSink         = errors.New("there is no such sink, or no server has worked its queue yet")
	ErrInFlight            = errors.New("the announcement is being delivered now")
	ErrAlreadyDelivered    = errors.New("the announcement is delivered already")
	ErrBadCursor           = errors.New("not a cursor that a list gave")
)

// State is how far an announcement has come.
type State string

// The states of announcements. Delivered ones can be seen for ten minutes, dead
// ones for thirty days.
const (
	StatePending   State = "pending"  // never tried, or being tried for the first time
	StateRetrying  State = "retrying" // tried in vain, and to be tried again
	StateDead      State = "dead"
	StateDelivered State = "delivered"
)

// Announcement is one event on its way to one sink, as operators see it.
type Announcement struct {
	ID          int64     `json:"id"`
	EventID     uuid.UUID `json:"event_id"`
	DecisionID  uuid.UUID `json:"decision_id"`
	Event       string    `json:"event"`
	Sink        string    `json:"sink"`
	WorkspaceID uuid.UUID `json:"workspace_id"`
	Sequence    int64     `json:"sequence"`
	State       State     `json:"state"`
	Failures    int       `json:"failures"` // attempts that failed
	LastError   string    `json:"last_error"`
	CreatedAt   time.Time `json:"created_at"`
	// NextAttempt is zero for those that are finished, FinishedAt for the others.
	NextAttempt time.Time `json:"next_attempt,omitzero"`
	FinishedAt  time.Time `json:"finished_at,omitzero"`
	// Message is the registry's own.
	Message jsontext.Value `json:"message"`
}

// Filter selects announcements. Zero values select all.
type Filter struct {
	Sink  string
	State State
	// After is the cursor that came with the page before.
	After string
	// Limit is the size of a page, at most 1000 (100).
	Limit int
}

const (
	defaultLimit = 100
	maxLimit     = 1000
)

// Announcements is the operators' view of the queue, for any process that can
// reach the database. It is safe for concurrent use.
type Announcements struct {
	queue  queueClient
	states func(ctx context.Context) ([]queue.SinkState, error)
	sinks  []string
}

// queueClient is what of River's client operators need.
type queueClient interface {
	queue.Control
	JobList(ctx context.Context, params *river.JobListParams) (*river.JobListResult, error)
	JobGet(ctx context.Context, id int64) (*rivertype.JobRow, error)
	JobRetry(ctx context.Context, id int64) (*rivertype.JobRow, error)
	JobDelete(ctx context.Context, id int64) (*rivertype.JobRow, error)
}

// NewAnnouncements makes the view of a queue whose configured sinks are sinks.
func NewAnnouncements[TTx any](database *queue.Database[TTx], sinks []string) (*Announcements, error) {
	client, err := database.Client(river.Config{ID: "operator", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	return &Announcements{queue: client, states: database.SinkStates, sinks: slices.Clone(sinks)}, nil
}

// List gives a page of announcements, newest first, and the cursor of the next
// page; it is empty on the last one.
func (a *Announcements) List(ctx context.Context, filter Filter) (page []Announcement, next string, err error) {
	params, err := filter.params()
	if err != nil {
		return nil, "", err
	}
	result, err := a.queue.JobList(ctx, params)
	if err != nil {
		return nil, "", fmt.Errorf("listing announcements: %w", err)
	}
	page = make([]Announcement, len(result.Jobs))
	for i, row := range result.Jobs {
		page[i] = newAnnouncement(row)
	}
	if len(page) < filter.limit() {
		return page, "", nil
	}
	cursor, err := result.LastCursor.MarshalText()
	if err != nil {
		return nil, "", fmt.Errorf("writing the cursor: %w", err)
	}
	return page, string(cursor), nil
}

func (f Filter) limit() int {
	if f.Limit <= 0 {
		return defaultLimit
	}
	return min(f.Limit, maxLimit)
}

func (f Filter) params() (*river.JobListParams, error) {
	params := river.NewJobListParams().Kinds(sinks.JobKind).OrderBy(river.JobListOrderByID, river.SortOrderDesc).First(f.limit())
	if f.Sink != "" {
		params = params.Queues(queue.Of(f.Sink))
	}
	// Both databases understand this.
	const failures = "coalesce(cast(metadata -> 'output' ->> 'failures' as integer), 0)"
	switch f.State {
	case "":
	case StatePending:
		params = params.States(unfinishedStates()...).Where(failures + " = 0")
	case StateRetrying:
		params = params.States(unfinishedStates()...).Where(failures + " > 0")
	case StateDead:
		params = params.States(rivertype.JobStateCancelled, rivertype.JobStateDiscarded)
	case StateDelivered:
		params = params.States(rivertype.JobStateCompleted)
	default:
		return nil, fmt.Errorf("no state of announcements is called %q", f.State)
	}
	if f.After == "" {
		return params, nil
	}
	cursor := &river.JobListCursor{}
	err := cursor.UnmarshalText([]byte(f.After))
	if err != nil {
		return nil, ErrBadCursor
	}
	return params.After(cursor), nil
}

func unfinishedStates() []rivertype.JobState {
	return []rivertype.JobState{
		rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable,
		rivertype.JobStateRunning, rivertype.JobStateScheduled,
	}
}

func newAnnouncement(row *rivertype.JobRow) Announcement {
	var job sinks.Job
	// A job that cannot be read is listed with what its row tells, so that an operator can discard it.
	_ = json.Unmarshal(row.EncodedArgs, &job)
	past := queue.ReadHistory(row)
	shown := Announcement{
		ID: row.ID, EventID: job.EventID, DecisionID: job.DecisionID, Event: job.Event, Sink: queue.SinkOf(row.Queue),
		WorkspaceID: job.WorkspaceID, Sequence: job.Sequence, Failures: past.Failures, LastError: past.Error,
		CreatedAt: row.CreatedAt.UTC(), Message: jsontext.Value(job.Message),
	}
	if row.FinalizedAt != nil {
		shown.FinishedAt = row.FinalizedAt.UTC()
	} else {
		shown.NextAttempt = row.ScheduledAt.UTC()
	}
	switch row.State {
	case rivertype.JobStateCompleted:
		shown.State = StateDelivered
	case rivertype.JobStateCancelled, rivertype.JobStateDiscarded:
		shown.State = StateDead
	default:
		shown.State = StatePending
		if past.Failures > 0 {
			shown.State = StateRetrying
		}
	}
	return shown
}

// Retry has an announcement tried now. One that was dead gets all the time for
// retries again.
func (a *Announcements) Retry(ctx context.Context, id int64) error {
	err := a.check(ctx, id)
	if err != nil {
		return err
	}
	row, err := a.queue.JobRetry(ctx, id)
	if err != nil {
		return jobError("retrying", id, err)
	}
	if row.State == rivertype.JobStateRunning {
		return ErrInFlight
	}
	return nil
}

// Discard removes an announcement, whether it is dead or not yet delivered.
func (a *Announcements) Discard(ctx context.Context, id int64) error {
	err := a.check(ctx, id)
	if err != nil {
		return err
	}
	_, err = a.queue.JobDelete(ctx, id)
	if err != nil {
		return jobError("discarding", id, err)
	}
	return nil
}

// check refuses what is delivered already. A job that is delivered between the check and the next step may be delivered twice,
// which receivers must bear anyway.
func (a *Announcements) check(ctx context.Context, id int64) error {
	row, err := a.queue.JobGet(ctx, id)
	switch {
	case err != nil:
		return jobError("looking at", id, err)
	case row.Kind != sinks.JobKind:
		return ErrUnknownAnnouncement
	case row.State == rivertype.JobStateCompleted:
		return ErrAlreadyDelivered
	}
	return nil
}

func jobError(doing string, id int64, err error) error {
	switch {
	case errors.Is(err, rivertype.ErrNotFound):
		return ErrUnknownAnnouncement
	case errors.Is(err, rivertype.ErrJobRunning):
		return ErrInFlight
	default:
		return fmt.Errorf("%s announcement %d: %w", doing, id, err)
	}
}

// RetryAll retries all that is dead of a sink, or of all sinks for "", and says
// how many that were. Some may have been retried when it returns an error.
func (a *Announcements) RetryAll(ctx context.Context, sink string) (int, error) {
	return a.each(ctx, Filter{Sink: sink, State: StateDead}, a.Retry)
}

// DiscardAll discards all of a sink, or of all sinks for "", that is in a state;
// so also what still waits for a sink that was removed from the configuration.
func (a *Announcements) DiscardAll(ctx context.Context, sink string, state State) (int, error) {
	return a.each(ctx, Filter{Sink: sink, State: state}, a.Discard)
}

// each goes through the pages once. Going on until nothing is left might never end, because retried announcements may die again.
func (a *Announcements) each(
	ctx context.Context, filter Filter, do func(ctx context.Context, id int64) error,
) (int, error) {
	// Statements that run at the same time share the database's syncs to disk.
	const concurrently = 8
	var done atomic.Int64
	filter.Limit = maxLimit
	for {
		page, next, err := a.List(ctx, filter)
		if err != nil {
			return int(done.Load()), err
		}
		group, groupCtx := errgroup.WithContext(ctx)
		group.SetLimit(concurrently)
		for _, found := range page {
			group.Go(func() error {
				err := do(groupCtx, found.ID)
				switch {
				case err == nil:
					done.Add(1)
				case errors.Is(err, ErrUnknownAnnouncement), errors.Is(err, ErrInFlight), errors.Is(err, ErrAlreadyDelivered):
					return nil // somebody else was faster
				}
				return err
			})
		}
		err = group.Wait()
		if err != nil || next == "" {
			return int(done.Load()), err
		}
		filter.After = next
	}
}
