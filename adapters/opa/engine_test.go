package opa_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/adapters/opa/opatest"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Promise 6: during many reloads each verdict comes from one revision. Run with -race.
func TestReloadMixesNoRevisions(t *testing.T) {
	sources := []snapshot.Source{opatest.Hook("false\n" + opatest.SomeEntry), opatest.Hook("true\n" + opatest.SomeEntry)}
	allows := opatest.Load(t, sources[0]).Revision()
	require.NotEqual(t, allows, opatest.Load(t, sources[1]).Revision())
	engine := opa.NewEngine(opatest.Schema(t), time.Now, opa.Options{})
	require.NoError(t, engine.Load(t.Context(), sources[0]))

	in := opatest.Registering(t, "")
	done := make(chan struct{})
	seen := make([]map[string]int, 4)
	var evaluators sync.WaitGroup
	for i := range seen {
		seen[i] = make(map[string]int)
		evaluators.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				got, err := engine.Current().Evaluate(context.Background(), in, time.Unix(0, 0))
				if err != nil || got.Allowed() != (got.Revision == allows) {
					t.Errorf("revision %s, allowed %t: %v", got.Revision, got.Allowed(), err)
					return
				}
				seen[i][got.Revision]++
			}
		})
	}
	for i := range 60 {
		require.NoError(t, engine.Load(t.Context(), sources[(i+1)%2]))
		require.Error(t, engine.Load(t.Context(), opatest.Hook("nonsense")))
	}
	close(done)
	evaluators.Wait()
	revisions := make(map[string]int)
	for _, counts := range seen {
		for revision, n := range counts {
			revisions[revision] += n
		}
	}
	require.Len(t, revisions, 2, fmt.Sprint(revisions))
}

// The record of an activation lists how it is weaker than the shipped policies, and than the ones before.
func TestActivationTellsHowPoliciesAreWeaker(t *testing.T) {
	var records recorded
	shipped := opatest.ShippedWith(t)
	engine := opa.NewEngine(opatest.Schema(t), time.Now, opa.Options{Recorder: &records, Shipped: &shipped})
	require.NoError(t, engine.Load(t.Context(), opatest.ShippedWith(t)))
	require.Empty(t, records[0].Weaker)
	require.Empty(t, engine.Status().Weaker)
	weaker := opatest.ShippedWith(t, []string{"data.yaml", "enforcement: {}", "enforcement: {URL_UNSAFE: audit}"})
	require.NoError(t, engine.Load(t.Context(), weaker))
	require.Len(t, records[1].Weaker, 1)
	require.Equal(t, records[1].Weaker, records[1].WeakerThanLive)
	require.Equal(t, records[1].Weaker, engine.Status().Weaker)
	require.NoError(t, engine.Load(t.Context(), weaker))
	require.Len(t, records[2].Weaker, 1)
	require.Empty(t, records[2].WeakerThanLive)
}
