package explain_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/explain"
	"github.com/molecule-ai/gatehouse/adapters/opa/opatest"
	"github.com/molecule-ai/gatehouse/server/admission"
)

func TestProfileNamesTheSlowRule(t *testing.T) {
	snapshot := opatest.Load(t, opatest.Files(map[string]string{
		"register/slow.rego":  opatest.HookPackage + opatest.Annotation("SLOW") + "deny contains violation if {\n\twalk(input.request, [_, \"x\"])\n\t" + opatest.SomeEntry + "\n}\n",
		"register/quick.rego": opatest.HookPackage + opatest.Annotation("QUICK") + "deny contains violation if {\n\tinput.request.tier == 1\n\twalk(input.request, [_, \"x\"])\n\t" + opatest.SomeEntry + "\n}\n",
	}))
	other := opatest.Registering(t, "")
	other.Hook = "heartbeat"
	profile, err := explain.Measure(t.Context(), snapshot, []admission.Input{opatest.Registering(t, ""), opatest.Registering(t, `, "tier": 1`), other}, time.Unix(0, 0))
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

func TestProfileWithoutInputsUsesTheLeastInput(t *testing.T) {
	profile, err := explain.Measure(t.Context(), opatest.Embedded(t), nil, time.Unix(0, 0))
	require.NoError(t, err)
	require.True(t, profile.Rehearsal)
	require.Equal(t, 2, profile.Inputs)
}
