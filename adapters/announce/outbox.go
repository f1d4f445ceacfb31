package announce

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"

	"github.com/go-json-experiment/json"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"

	"github.com/molecule-ai/gatehouse/adapters/announce/queue"
	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// maxAttempts bounds attempts whose process was killed. River counts only those; Retry bounds failed deliveries.
const maxAttempts = 1000

// Outbox puts events into the queue. It needs no connection of its own, so that
// a store can be opened with it. It is safe for concurrent use.
//
// On Postgres, transactions that notify are committed one after the other, and each waits for the disk. So Announce does not
// notify there; Wake does so afterwards, once for many.
type Outbox[TTx any] struct {
	driver  riverdriver.Driver[TTx]
	config  river.Config
	configs SinkConfigs
	shared  *river.Client[TTx] // nil where every transaction needs one of its own
}

// NewPostgresOutbox makes the outbox of a ledger on Postgres. Every event is announced
// to those of the sinks that are configured to get it; without any, nothing is.
func NewPostgresOutbox(configs SinkConfigs) (*Outbox[pgx.Tx], error) {
	return newOutbox(silent{riverpgxv5.New(nil)}, queue.PostgresSchema, configs)
}

// silent is a driver whose clients do not notify.
type silent struct{ riverdriver.Driver[pgx.Tx] }

func (silent) SupportsListenNotify() bool { return false }

// NewSQLiteOutbox is NewPostgresOutbox for a ledger on SQLite.
func NewSQLiteOutbox(configs SinkConfigs) (*Outbox[*sql.Tx], error) {
	return newOutbox(riversqlite.New(nil), "", configs)
}

func newOutbox[TTx any](driver riverdriver.Driver[TTx], schema string, configs SinkConfigs) (*Outbox[TTx], error) {
	err := queue.CheckSinkNames(configs.Names())
	if err != nil {
		return nil, err
	}
	outbox := &Outbox[TTx]{
		driver: driver,
		// Errors come back to the caller, who logs them.
		config:  river.Config{Schema: schema, ID: "outbox", Logger: slog.New(slog.DiscardHandler)},
		configs: configs,
	}
	client, err := outbox.client()
	if err != nil {
		return nil, err
	}
	if !driver.SupportsListenNotify() {
		outbox.shared = client
	}
	return outbox, nil
}

// client is a new one for every transaction where clients notify. A client notifies once per queue and FetchCooldown, even if
// the transaction that carries the notification is rolled back or committed late. Jobs of the other transactions of a shared
// client would wait for the next poll.
func (o *Outbox[TTx]) client() (*river.Client[TTx], error) {
	if o.shared != nil {
		return o.shared, nil
	}
	client, err := river.NewClient(o.driver, &o.config)
	if err != nil {
		return nil, fmt.Errorf("opening the outbox: %w", err)
	}
	return client, nil
}

// insertTopic is where River's clients hear of jobs. It and the payload below are River's own:
// TestOutboxNotifiesAsRiverDoesAndOnlyOnWake fails when River changes them.
const insertTopic = "river_insert"

// Wake has the workers of the configured sinks look into their queues once tx, which
// can be any transaction, is committed. Without it they look when they next poll.
func (o *Outbox[TTx]) Wake(ctx context.Context, tx TTx) error {
	names := o.configs.Names()
	if len(names) == 0 {
		return nil
	}
	payloads := make([]string, len(names))
	for i, name := range names {
		payloads[i] = fmt.Sprintf(`{"queue": %q}`, queue.Of(name))
	}
	err := o.driver.UnwrapExecutor(tx).NotifyMany(ctx, &riverdriver.NotifyManyParams{
		Payload: payloads, Topic: insertTopic, Schema: o.config.Schema,
	})
	if err != nil {
		return fmt.Errorf("waking the workers: %w", err)
	}
	return nil
}

// Announce adds events to the caller's transaction, each for every sink that wants
// it. If it fails, the transaction must not be committed.
func (o *Outbox[TTx]) Announce(ctx context.Context, tx TTx, events ...admission.Event) error {
	var inserts []river.InsertManyParams
	for _, event := range events {
		jobs, err := newJobs(event, o.wanting(event))
		if err != nil {
			return err
		}
		for _, job := range jobs {
			inserts = append(inserts, river.InsertManyParams{
				Args:       job,
				InsertOpts: &river.InsertOpts{Queue: queue.Of(job.Sink), MaxAttempts: maxAttempts},
			})
		}
	}
	if len(inserts) == 0 {
		return nil
	}
	client, err := o.client()
	if err != nil {
		return err
	}
	_, err = client.InsertManyTx(ctx, tx, inserts)
	if err != nil {
		return fmt.Errorf("putting %d announcements into the outbox: %w", len(inserts), err)
	}
	return nil
}

func (o *Outbox[TTx]) wanting(event admission.Event) []string {
	var names []string
	for _, sink := range o.configs {
		if sink.wants(event) {
			names = append(names, sink.Name)
		}
	}
	return names
}

func newJobs(event admission.Event, names []string) ([]sinks.Job, error) {
	event.Timestamp = event.Timestamp.UTC()
	message, err := json.Marshal(event)
	if err != nil {
		return nil, fmt.Errorf("writing the message of event %s: %w", event.ID, err)
	}
	jobs := make([]sinks.Job, len(names))
	for i, sink := range names {
		jobs[i] = sinks.Job{
			EventID: event.ID, Sink: sink, WorkspaceID: event.WorkspaceID,
			DecisionID: event.DecisionID, Event: event.Event, Hook: event.Hook,
			Code: event.Payload.Code, Sequence: event.Sequence,
			Message: string(message), CreatedAt: event.Timestamp,
		}
	}
	return jobs, nil
}
