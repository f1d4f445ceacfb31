package serve

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/adapters/opa/sources"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
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
	options := []opa.Option{opa.RecordWith(recorder), opa.AwaitHistory(), opa.Shipped(flags.Embedded())}
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
	return f.engine.Remember(ctx, &snapshot.BundleInfo{Revision: last.Revision, BuiltAt: last.BuiltAt, Key: last.SignedBy})
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
func (c *Command) startFeed(ctx context.Context, engine *opa.Engine, reports settingReports) (*feed, error) {
	logger := reports.log
	if c.IsEmbedded() {
		return &feed{engine: engine, log: logger}, engine.Load(ctx, flags.Embedded())
	}
	origin, err := c.Origin(sources.Options{PollEvery: c.PoliciesPoll, LongPoll: c.PoliciesLongPoll, Report: reports})
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
	if len(c.PoliciesKey) == 0 && !c.IsDirectory() {
		logger.Warn("bundles are taken without a signature; set --policies-key", "source", origin.Name())
	}
	follower := sources.NewFollower(origin, engine, cache, logger)
	return &feed{engine: engine, follower: follower, log: logger}, follower.Start(ctx)
}

// checkAge refuses an age at which the server would be not ready between two answers of a source that is well.
func (c *Command) checkAge(origin sources.Origin) error {
	between := origin.Poll()
	if strings.HasPrefix(c.Policies, "http") {
		between = max(between, c.PoliciesLongPoll)
	}
	if c.MaxPolicyAge > 0 && c.MaxPolicyAge < 2*between {
		return fmt.Errorf("--max-policy-age %s must be at least twice as long as the source is not asked (%s)", c.MaxPolicyAge, between)
	}
	return nil
}

func (c *Command) cache() (*sources.Cache, error) {
	path, isSQLite := c.SQLitePath()
	folder := c.PoliciesCache
	switch {
	case folder == "none" || c.IsDirectory() || folder == "" && !isSQLite:
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
	_ = f.engine.Load(ctx, flags.Embedded()) // the journal tells of it
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
