package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/adapters/opa/sources"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// feedFlags say how serve keeps its policies those of their source.
type feedFlags struct {
	PoliciesPoll     time.Duration `help:"How often the source is asked for changes; 0 for every second (files) or half a minute (servers)." default:"0s"`
	PoliciesLongPoll time.Duration `help:"How long a bundle server may hold its answer back until there is something new; 0 to ask for none." default:"30s"`
	PoliciesCache    string        `help:"Directory for the last good bundle of a server, to start from when the server is away; none to keep none. By default beside the SQLite file; with Postgres none." placeholder:"DIR"`
	MaxPolicyAge     time.Duration `help:"Time after which policies whose source has not confirmed them make the server not ready; 0 for never." default:"0s"`
	AllowRollback    bool          `env:"-" help:"Accept a signed bundle that is older than the one that was live last."`
}

func (f feedFlags) check() error {
	for flag, value := range map[string]time.Duration{
		"policies-poll": f.PoliciesPoll, "policies-long-poll": f.PoliciesLongPoll, "max-policy-age": f.MaxPolicyAge,
	} {
		if value < 0 {
			return fmt.Errorf("--%s must not be negative", flag)
		}
	}
	return nil
}

func (f feedFlags) engineOptions(recorder opa.Recorder) []opa.Option {
	options := []opa.Option{opa.RecordWith(recorder), opa.AwaitHistory(), opa.Shipped(embedded())}
	if f.AllowRollback {
		options = append(options, opa.AllowRollback())
	}
	return options
}

// feed keeps the engine's policies those of their source.
type feed struct {
	engine   *opa.Engine
	follower *sources.Follower // nil for the embedded ones, which do not change
	log      *slog.Logger

	untold activationHistory // has yet to say which signed bundle was live last; nil if it has
}

// activationHistory knows what was live before this process.
type activationHistory interface {
	LastSigned(ctx context.Context) (*admission.ActivatedBundle, error)
}

const (
	firstRecall = 5 * time.Second // before the server goes on without
	recallRetry = time.Second
)

// recall tells the engine which signed bundle was live last, so that an older one is refused also after a restart,
// wherever it comes from. Where the store cannot tell it yet, run asks again, and signed policies answer nothing until
// then: without the store nothing could be answered anyhow.
func (f *feed) recall(ctx context.Context, history activationHistory) error {
	limited, cancel := context.WithTimeout(ctx, firstRecall)
	defer cancel()
	last, err := history.LastSigned(limited)
	if err != nil {
		f.log.Warn("the store does not say yet which policies were live last; trying again", "error", err)
		f.untold = history
		return nil
	}
	return f.remember(ctx, last)
}

func (f *feed) remember(ctx context.Context, last *admission.ActivatedBundle) error {
	if last == nil {
		return f.engine.Remember(ctx, nil)
	}
	return f.engine.Remember(ctx, &opa.BundleInfo{Revision: last.Revision, BuiltAt: last.BuiltAt, Key: last.SignedBy})
}

// keepRecalling ends as soon as the store has told it. What is refused then is told by the journal.
func (f *feed) keepRecalling(ctx context.Context) {
	for f.untold != nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(recallRetry):
		}
		last, err := f.untold.LastSigned(ctx)
		if err == nil {
			f.untold = nil
			_ = f.remember(ctx, last)
		}
	}
}

// startFeed makes the policies of the flags live, or gives why that cannot be.
func (c *serveCommand) startFeed(ctx context.Context, engine *opa.Engine, reports settingReports) (*feed, error) {
	logger := reports.log
	if c.isEmbedded() {
		return &feed{engine: engine, log: logger}, engine.Load(ctx, embedded())
	}
	origin, err := c.origin(sources.Options{PollEvery: c.PoliciesPoll, LongPoll: c.PoliciesLongPoll, Report: reports})
	if err != nil {
		return nil, err
	}
	err = c.checkAge(origin)
	if err != nil {
		return nil, err
	}
	cache, err := c.cache()
	if err != nil {
		return nil, err
	}
	if len(c.PoliciesKey) == 0 && !c.isDirectory() {
		logger.Warn("bundles are taken without a signature; set --policies-key", "source", origin.Name())
	}
	follower := sources.NewFollower(origin, engine, cache, logger)
	return &feed{engine: engine, follower: follower, log: logger}, follower.Start(ctx)
}

// checkAge refuses an age at which the server would be not ready between two answers of a source that is well.
func (c *serveCommand) checkAge(origin sources.Origin) error {
	between := origin.Poll()
	if strings.HasPrefix(c.Policies, "http") {
		between = max(between, c.PoliciesLongPoll)
	}
	if c.MaxPolicyAge > 0 && c.MaxPolicyAge < 2*between {
		return fmt.Errorf("--max-policy-age %s must be at least twice as long as the source is not asked (%s)", c.MaxPolicyAge, between)
	}
	return nil
}

func (c *serveCommand) cache() (*sources.Cache, error) {
	path, isSQLite := c.sqlitePath()
	folder := c.PoliciesCache
	switch {
	case folder == "none" || c.isDirectory() || folder == "" && !isSQLite:
		return nil, nil
	case folder == "":
		folder = filepath.Join(filepath.Dir(path), "policies-cache")
	}
	return sources.NewCache(folder)
}

// named gives the source and the revision of what is live, or waits to be.
func (f *feed) named() (source, revision string) {
	status := f.engine.Status()
	snapshot := cmp.Or(status.Snapshot, status.Waiting)
	if snapshot == nil {
		return "", ""
	}
	return snapshot.Source(), snapshot.Revision()
}

// run follows the source until ctx ends.
func (f *feed) run(ctx context.Context) {
	var recalling sync.WaitGroup
	recalling.Go(func() { f.keepRecalling(ctx) })
	defer recalling.Wait()
	if f.follower != nil {
		f.follower.Run(ctx)
	}
}

// reload asks the source now, also for what it had when it was refused.
func (f *feed) reload(ctx context.Context) {
	if f.follower != nil {
		f.follower.Reload()
		return
	}
	_ = f.engine.Load(ctx, embedded()) // the journal tells of it
}

// journal records which policies became live or were refused: in the log at once, and in the store when it can
// be written. A store that cannot be written holds no policies up.
type journal struct {
	log     *slog.Logger
	pending chan admission.PolicyActivation
}

// maxPendingActivations is for a store that is away for long; what is more than that is in the log alone.
const maxPendingActivations = 256

func newJournal(logger *slog.Logger) *journal {
	return &journal{log: logger, pending: make(chan admission.PolicyActivation, maxPendingActivations)}
}

// PolicyActivated implements opa.Recorder.
func (j *journal) PolicyActivated(_ context.Context, record opa.Record) {
	attributes := []any{"source", record.Source, "policy_revision", record.Revision}
	if bundle := record.Bundle; bundle != nil {
		attributes = append(attributes, "bundle_revision", bundle.Revision, "built_at", bundle.BuiltAt, "signed_by", bundle.Key)
	}
	if len(record.Remarks) > 0 {
		attributes = append(attributes, "remarks", record.Remarks)
	}
	j.log.Info("policies are live", attributes...)
	if len(record.Weaker) > 0 {
		j.log.Warn("the live policies are weaker than those that are shipped", "policy_revision", record.Revision, "weaker", lines(record.Weaker))
	}
	if len(record.WeakerThanLive) > 0 {
		j.log.Warn("the live policies are weaker than those that were live before", "policy_revision", record.Revision, "weaker", lines(record.WeakerThanLive))
	}
	j.keep(record, true)
}

// lines are weaknesses as they are read.
func lines(weaker []admission.Weakness) []string {
	texts := make([]string, 0, len(weaker))
	for _, one := range weaker {
		texts = append(texts, one.String())
	}
	return texts
}

// PolicyRefused implements opa.Recorder.
func (j *journal) PolicyRefused(_ context.Context, record opa.Record) {
	j.log.Error("policies were refused; those that were live stay",
		"source", record.Source, "policy_revision", record.Revision, "error", record.Reason)
	j.keep(record, false)
}

func (j *journal) keep(record opa.Record, activated bool) {
	id, err := uuid.NewV7()
	if err != nil {
		j.log.Error("an activation of policies is not stored", "error", err)
		return
	}
	activation := admission.PolicyActivation{
		ID: id, At: record.At, Source: record.Source, Revision: record.Revision, Activated: activated, Reason: record.Reason,
	}
	if bundle := record.Bundle; bundle != nil {
		activation.Bundle = &admission.ActivatedBundle{Revision: bundle.Revision, BuiltAt: bundle.BuiltAt, SignedBy: bundle.Key}
	}
	j.queue(activation)
}

type activationStore interface {
	RecordActivation(ctx context.Context, activation admission.PolicyActivation) error
}

// retryActivation is how long to wait for a store whose tables are perhaps not there yet.
const retryActivation = time.Second

// lastActivations is how long a server that stops takes for what is not stored yet.
const lastActivations = 2 * time.Second

// run writes into the store until ctx ends, and then what is left.
func (j *journal) run(ctx context.Context, store activationStore) {
	for {
		select {
		case <-ctx.Done():
			j.writeRest(ctx, store)
			return
		case activation := <-j.pending:
			j.write(ctx, store, activation)
		}
	}
}

func (j *journal) writeRest(ctx context.Context, store activationStore) {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastActivations)
	defer cancel()
	for {
		select {
		case activation := <-j.pending:
			err := store.RecordActivation(limited, activation)
			if err != nil {
				j.log.Warn("an activation of policies is not stored", "policy_revision", activation.Revision, "error", err)
			}
		default:
			return
		}
	}
}

// write tries until ctx ends. What it could not write is left, and may have been written all the same.
func (j *journal) write(ctx context.Context, store activationStore, activation admission.PolicyActivation) {
	said := false
	for {
		err := store.RecordActivation(ctx, activation)
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			j.queue(activation)
			return
		}
		if !said {
			j.log.Warn("an activation of policies is not stored yet", "policy_revision", activation.Revision, "error", err)
			said = true
		}
		timer := time.NewTimer(retryActivation)
		select {
		case <-ctx.Done():
			timer.Stop()
			j.queue(activation)
			return
		case <-timer.C:
		}
	}
}

func (j *journal) queue(activation admission.PolicyActivation) {
	select {
	case j.pending <- activation:
	default:
		j.log.Warn("an activation of policies is not stored: too many wait for the store", "policy_revision", activation.Revision)
	}
}

// background runs until its owner waits for it.
type background struct {
	running sync.WaitGroup
	stop    context.CancelFunc
}

func startBackground(ctx context.Context, tasks ...func(context.Context)) *background {
	ctx, stop := context.WithCancel(ctx)
	b := &background{stop: stop}
	for _, task := range tasks {
		b.running.Go(func() { task(ctx) })
	}
	return b
}

func (b *background) close() {
	b.stop()
	b.running.Wait()
}

// tooOld says why policies that nobody has confirmed for so long must not be relied on.
func tooOld(status opa.Status, limit time.Duration, now time.Time) error {
	age := now.Sub(status.Confirmed)
	if limit <= 0 || age <= limit {
		return nil
	}
	cause := "its source has another version, which was refused"
	if status.Unreached != nil {
		cause = status.Unreached.Err.Error()
	} else if status.Refused != nil {
		cause = status.Refused.Err.Error()
	}
	return fmt.Errorf("the policies were last confirmed %s ago, which is more than %s: %s", age.Round(time.Second), limit, cause)
}
