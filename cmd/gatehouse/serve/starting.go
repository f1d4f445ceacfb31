package serve

import (
	"context"
	"errors"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/adapters/opa/recall"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
)

// loadAndOpen makes the policies live and opens the store. The embedded policies, which no operator can get wrong,
// are loaded meanwhile. Others come first: a version that refuses them must not have changed the tables of the one that
// then goes on serving. Only the store knows whether a signed bundle is older than the one that was live last. Policies
// that are refused are what is told, whatever came of the store.
func (c *Command) loadAndOpen(
	ctx context.Context, engine *opa.Engine, registry *prometheus.Registry, reports settingReports, to cli.Streams,
) (*feed, *openStore, error) {
	load := sync.OnceValues(func() (*feed, error) { return c.startFeed(ctx, engine, reports) })
	if c.IsEmbedded() {
		go func() { _, _ = load() }() // its result is fetched below
	} else if _, err := load(); err != nil {
		return nil, nil, refusedPolicies(ctx, to, err)
	}
	store, unopened := c.open(ctx, registry, reports)
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
	policies.recall = recall.New(engine, store.activations, reports.log)
	refused = policies.recall.First(ctx)
	if refused != nil {
		store.close()
		return nil, nil, refusedPolicies(ctx, to, refused)
	}
	return policies, store, nil
}

// refusedPolicies tells why, unless the server was told to stop while it loaded them.
func refusedPolicies(ctx context.Context, to cli.Streams, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	flags.PrintPolicyErrors(to.Err, err)
	return errors.New("the policies were refused")
}
