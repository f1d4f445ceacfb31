package announce

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/riverqueue/river"

	"github.com/molecule-ai/gatehouse/adapters/announce/queue"
	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
)

const (
	// attemptTimeout ends an attempt of a sink that is configured without a timeout.
	attemptTimeout = 10 * time.Second
	// A job that is in flight for longer than rescueAfter was left by a process that died, and is taken over. It must be well
	// over maxTimeout, or a job would be worked twice.
	rescueAfter = 30 * time.Second

	// Workers look for jobs when the database notifies them. The poll finds retries that are due, and jobs whose notification
	// was lost.
	pollInterval = time.Second
	// One process delivers at most sinks.Concurrency jobs to a sink in each fetchCooldown.
	fetchCooldown = 5 * time.Millisecond

	// The ledger keeps what was announced. Delivered jobs stay for a look at what has just happened, dead ones until an
	// operator decides about them.
	keepDelivered = 10 * time.Minute
	keepDead      = 30 * 24 * time.Hour

	drainTimeout = 5 * time.Second
)

// What became of an attempt to deliver.
const (
	Delivered = "delivered"
	Retried   = "retried"
	Dead      = "dead"
)

// Options of a Relay. Zero values stand for the defaults.
type Options struct {
	Log *slog.Logger
	// Observe hears the result of each attempt: Delivered, Retried or Dead. It
	// must not block.
	Observe func(sink, result string)
	// Retry is for sinks that are not configured otherwise.
	Retry Retry
	// Poll is how often workers look for jobs without a notification, and so the precision of retries (1 s).
	Poll time.Duration
	// Drain is how long deliveries in flight may take to end when the relay stops
	// (5 s).
	Drain time.Duration
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Observe == nil {
		o.Observe = func(string, string) {}
	}
	if o.Poll <= 0 {
		o.Poll = pollInterval
	}
	if o.Drain <= 0 {
		o.Drain = drainTimeout
	}
	o.Retry = o.Retry.withDefaults()
	return o
}

// Relay works the queue. Any number of relays, in any number of processes, may
// work one queue. It starts while the database is away and goes on when it is
// back.
type Relay struct {
	open func() (client, error)
	log  *slog.Logger

	mu   sync.Mutex
	stop context.CancelFunc
	done chan struct{}
}

// client is what a relay needs of River's.
type client interface {
	Start(ctx context.Context) error
	Stopped() <-chan struct{}
}

// NewRelay makes a relay that delivers to targets. Without any it does nothing.
func NewRelay[TTx any](database *queue.Database[TTx], targets []sinks.Sink, options Options) (*Relay, error) {
	options = options.withDefaults()
	relay := &Relay{log: options.Log}
	if len(targets) == 0 {
		return relay, nil
	}
	queues := func(ctx context.Context) (queue.Control, error) { return river.ClientFromContextSafely[TTx](ctx) }
	config, err := configure(targets, queues, options)
	if err != nil {
		return nil, err
	}
	relay.open = func() (client, error) { return database.Client(config) }
	// A mistake in the configuration is found now, and not in the background.
	_, err = relay.open()
	if err != nil {
		return nil, err
	}
	return relay, nil
}

func configure(
	targets []sinks.Sink, control func(ctx context.Context) (queue.Control, error), options Options,
) (river.Config, error) {
	names := make([]string, len(targets))
	lanes := make(map[string]*lane, len(targets))
	queues := make(map[string]river.QueueConfig, len(targets))
	for i, sink := range targets {
		names[i] = sink.Name()
		lanes[names[i]] = newLane(sink, options)
		queues[queue.Of(names[i])] = river.QueueConfig{MaxWorkers: sinks.Concurrency}
	}
	err := queue.CheckSinkNames(names)
	if err != nil {
		return river.Config{}, err
	}
	workers := river.NewWorkers()
	err = river.AddWorkerSafely(workers, &worker{
		lanes: lanes, queues: control, log: options.Log, observe: options.Observe,
	})
	if err != nil {
		return river.Config{}, fmt.Errorf("registering the worker: %w", err)
	}
	return river.Config{
		Workers:                     workers,
		Queues:                      queues,
		Logger:                      slog.New(newQuietHandler(options.Log.Handler())),
		ErrorHandler:                undeliverable{log: options.Log, observe: options.Observe},
		RetryPolicy:                 riverPolicy{options.Retry},
		JobTimeout:                  maxTimeout,
		RescueStuckJobsAfter:        rescueAfter,
		FetchCooldown:               min(fetchCooldown, options.Poll),
		FetchPollInterval:           options.Poll,
		CompletedJobRetentionPeriod: keepDelivered,
		CancelledJobRetentionPeriod: keepDead,
		DiscardedJobRetentionPeriod: keepDead,
		SoftStopTimeout:             options.Drain,
		// Rebuilding indexes needs the owner's rights. A queue that is empty most of the time does not need it.
		ReindexerIndexNames: []string{},
	}, nil
}

// Start begins to work the queue, in the background, until Stop is called or ctx
// is done. It may be called once.
func (r *Relay) Start(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == nil || r.done != nil {
		return
	}
	ctx, r.stop = context.WithCancel(ctx)
	r.done = make(chan struct{})
	go func() {
		defer close(r.done)
		r.run(ctx)
	}()
}

// Stop takes no new jobs and waits until those in flight have ended; what does not
// end within Options.Drain is put back into the queue. If ctx is done first, Stop
// returns its error and the rest happens in the background.
func (r *Relay) Stop(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done == nil {
		return nil
	}
	r.stop()
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for deliveries in flight: %w", ctx.Err())
	}
}

// run keeps a client working. River's client outlives a database that goes away,
// but does not start without one.
func (r *Relay) run(ctx context.Context) {
	again := Retry{First: 500 * time.Millisecond, Limit: 15 * time.Second}
	for failures := 1; ctx.Err() == nil; failures++ {
		err := r.work(ctx)
		if ctx.Err() != nil {
			return
		}
		delay := again.delay(failures)
		r.log.WarnContext(ctx, "announcements wait for the database", "error", err, "retry_in", delay)
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
	}
}

// work returns when the client could not start or has stopped. A client whose
// start failed half-way is not used again.
func (r *Relay) work(ctx context.Context) error {
	client, err := r.open()
	if err != nil {
		return err
	}
	err = client.Start(ctx)
	if err != nil {
		return fmt.Errorf("starting to work the queue: %w", err)
	}
	<-client.Stopped()
	return nil
}
