package serve

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/adapters/opa/recall"
	"github.com/molecule-ai/gatehouse/adapters/opa/sources"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
)

// feedFlags say how serve keeps its policies those of their source.
type feedFlags struct {
	PoliciesPoll     time.Duration `help:"How often the source is asked for changes; 0 for every second (files) or half a minute (servers)." default:"0s"`
	PoliciesLongPoll time.Duration `help:"How long a bundle server may hold its answer back until there is something new; 0 to ask for none." default:"30s"`
	PoliciesCache    string        `help:"Directory for the last good bundle of a server, to start from when the server is away; none to keep none. By default beside the SQLite file; with Postgres none." placeholder:"DIR"`
	MaxPolicyAge     time.Duration `help:"Time after which policies whose source has not confirmed them make the server not ready; 0 for never." default:"0s"`
	AllowRollback    bool          `env:"-" help:"Accept a signed bundle that is older than the one that was live last."`
}

// leastPoll keeps a source from being asked without a pause.
const leastPoll = 10 * time.Millisecond

func (f feedFlags) check() error {
	for flag, value := range map[string]time.Duration{
		"policies-poll": f.PoliciesPoll, "policies-long-poll": f.PoliciesLongPoll, "max-policy-age": f.MaxPolicyAge,
	} {
		if value < 0 {
			return fmt.Errorf("--%s must not be negative", flag)
		}
	}
	if f.PoliciesPoll > 0 && f.PoliciesPoll < leastPoll {
		return fmt.Errorf("--policies-poll must be at least %s, or 0 for the usual", leastPoll)
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
	recall   *recall.Recall
}

// startFeed makes the policies of the flags live, or gives why that cannot be.
func (c *Command) startFeed(ctx context.Context, engine *opa.Engine, reports settingReports) (*feed, error) {
	logger := reports.log
	if c.IsEmbedded() {
		return &feed{engine: engine}, engine.Load(ctx, flags.Embedded())
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
	return &feed{engine: engine, follower: follower}, follower.Start(ctx)
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
