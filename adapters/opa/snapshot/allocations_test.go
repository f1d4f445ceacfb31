//go:build !race

// The race detector allocates too.
package snapshot_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/opatest"
)

// A decision may not allocate more than this. The limits are the measured numbers and a tenth.
func TestEvaluateAllocatesNoMoreThanItDid(t *testing.T) {
	snapshot := opatest.Embedded(t)
	most := map[string]float64{
		"hook=register/allow": 52, "hook=register/deny": 102, "hook=heartbeat/allow": 38, "hook=heartbeat/deny": 87,
	}
	for name, in := range typical(t) {
		allocations := testing.AllocsPerRun(200, func() {
			_, err := snapshot.Evaluate(t.Context(), in, time.Unix(0, 0))
			require.NoError(t, err)
		})
		require.LessOrEqual(t, allocations, most[name], name)
	}
}

// Rules that an equality excludes allocate nothing.
func TestEvaluateAllocatesTheSameForAHundredTimesTheRules(t *testing.T) {
	of := func(count int) float64 {
		snapshot, in := opatest.Load(t, manyRules(count)), opatest.Registering(t, `, "tier": -1`)
		return testing.AllocsPerRun(200, func() {
			_, err := snapshot.Evaluate(t.Context(), in, time.Unix(0, 0))
			require.NoError(t, err)
		})
	}
	require.InDelta(t, of(10), of(1000), 2)
}
