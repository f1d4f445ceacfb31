package snapshot_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/casetest"
	"github.com/molecule-ai/gatehouse/adapters/opa/explain"
	policytests "github.com/molecule-ai/gatehouse/policies_test"
	"github.com/molecule-ai/gatehouse/server/admission"
)

func TestAProfileNamesTheRuleThatMakesEveryDecisionSlow(t *testing.T) {
	snapshot := load(t, files(map[string]string{
		"register/slow.rego":  hookPackage + annotation("SLOW") + "deny contains violation if {\n\twalk(input.request, [_, \"x\"])\n\t" + someEntry + "\n}\n",
		"register/quick.rego": hookPackage + annotation("QUICK") + "deny contains violation if {\n\tinput.request.tier == 1\n\twalk(input.request, [_, \"x\"])\n\t" + someEntry + "\n}\n",
	}))
	other := registering(t, "")
	other.Hook = "heartbeat"
	profile, err := explain.Measure(t.Context(), snapshot, []admission.Input{registering(t, ""), registering(t, `, "tier": 1`), other}, time.Unix(0, 0))
	require.NoError(t, err)
	require.Equal(t, 2, profile.Inputs)
	require.False(t, profile.Rehearsal)
	require.Len(t, profile.Rules, 2)
	slow, quick := profile.Rules[0], profile.Rules[1]
	require.Equal(t, "register/slow.rego", slow.File)
	require.Equal(t, 7, slow.Row)
	require.Equal(t, 2, slow.Engine)
	require.True(t, slow.Slow())
	require.Equal(t, "register/quick.rego", quick.File)
	require.Equal(t, []int{1, 2}, []int{quick.Engine, quick.Inputs})
	require.False(t, quick.Slow())
	require.Positive(t, slow.Evaluations)
	require.InDelta(t, 1, slow.Share+quick.Share, 1e-6)
}

func TestWithoutInputsTheRehearsalIsProfiled(t *testing.T) {
	profile, err := explain.Measure(t.Context(), embedded(t), nil, time.Unix(0, 0))
	require.NoError(t, err)
	require.True(t, profile.Rehearsal)
	require.Equal(t, 2, profile.Inputs)
}

// A shipped rule that needs the engine makes the decisions slow that everybody waits for.
func TestNoShippedRuleNeedsTheEngine(t *testing.T) {
	snapshot := embedded(t)
	for name, in := range typical(t) {
		require.Empty(t, snapshot.Undecided(in), "%s: these rules need the engine", name)
		require.True(t, snapshot.Decided(in), name)
	}
	all, err := casetest.Load(policytests.FS, "cases")
	require.NoError(t, err)
	for _, one := range all {
		require.Empty(t, snapshot.Undecided(one.Input()), "%s: %s: these rules need the engine", one.File, one.Name)
	}
}
