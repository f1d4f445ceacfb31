package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/adapters/opa/recall"
	"github.com/molecule-ai/gatehouse/adapters/opa/sources"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
)

func (c *Command) engineOptions(recorder opa.Recorder) opa.Options {
	shipped := flags.Embedded()
	return opa.Options{
		Recorder: recorder, Shipped: &shipped, AllowRollback: c.AllowRollback, AwaitHistory: true, ByOPA: c.Evaluator == "opa",
	}
}

// feed keeps the live policies up to date with their source.
type feed struct {
	engine   *opa.Engine
	follower *sources.Follower // nil for the embedded ones, which do not change
	recall   *recall.Recall
}

// startFeed makes the policies of the flags live.
func (c *Command) startFeed(ctx context.Context, p *process, engine *opa.Engine) (*feed, error) {
	if c.IsEmbedded() {
		return &feed{engine: engine}, engine.Load(ctx, flags.Embedded())
	}
	origin, err := c.Origin(sources.Options{PollEvery: c.PoliciesPoll, LongPoll: c.PoliciesLongPoll, Report: p.settings})
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
		p.log.Warn("bundles are taken without a signature; set --policies-key", "source", origin.Name())
	}
	follower := sources.NewFollower(origin, engine, cache, p.log)
	return &feed{engine: engine, follower: follower}, follower.Start(ctx)
}

// checkAge refuses an age that is over before a healthy source is asked again: the server would be not ready in between.
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

// named gives the source and the revision of the policies that are live, or wait for the store.
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

// reload asks the source now. What was refused before is tried again.
func (f *feed) reload(ctx context.Context) {
	if f.follower != nil {
		f.follower.Reload()
		return
	}
	_ = f.engine.Load(ctx, flags.Embedded()) // the journal tells of it
}

// loadAndOpen makes the policies live and opens the store. Embedded policies are loaded while the store opens: no operator
// can get them wrong. Other policies are loaded first: a version that refuses them must not have changed the tables of the
// version that goes on serving. The store knows which signed bundle was live last, so an older one is refused at the end.
// Where the policies are refused, that is the error, whatever the store did.
func (c *Command) loadAndOpen(ctx context.Context, p *process, engine *opa.Engine, to cli.Streams) (*feed, *openStore, error) {
	load := sync.OnceValues(func() (*feed, error) { return c.startFeed(ctx, p, engine) })
	if c.IsEmbedded() {
		go func() { _, _ = load() }() // its result is fetched below
	} else if _, err := load(); err != nil {
		return nil, nil, refusedPolicies(ctx, to, err)
	}
	store, unopened := c.open(ctx, p)
	policies, refused := load()
	if refused != nil {
		if unopened == nil {
			store.close()
		}
		return nil, nil, refusedPolicies(ctx, to, refused)
	}
	if unopened != nil {
		return nil, nil, unopened
	}
	policies.recall = recall.New(engine, store, p.log)
	refused = policies.recall.First(ctx)
	if refused != nil {
		store.close()
		return nil, nil, refusedPolicies(ctx, to, refused)
	}
	return policies, store, nil
}

// refusedPolicies prints why they were refused, unless the server was told to stop meanwhile.
func refusedPolicies(ctx context.Context, to cli.Streams, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	flags.PrintPolicyErrors(to.Err, err)
	return errors.New("the policies were refused")
}
