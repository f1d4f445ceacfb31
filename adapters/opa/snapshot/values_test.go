package snapshot_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/opatest"
)

func TestNumbersReachPoliciesWithAllTheirDigits(t *testing.T) {
	for _, number := range []string{"12345678901234567890", "9007199254740993", "0.1000000000000000055511151231257827", "1.10"} {
		snapshot := opatest.Load(t, opatest.Hook(fmt.Sprintf("input.request.n == %s\nviolation := {\"reason\": \"r\", \"message\": sprintf(\"%%v\", [input.request.n])}", number)))
		require.Len(t, opatest.Verdict(t, snapshot, opatest.Registering(t, `, "n": `+number)).Violations, 1, number)
	}
	snapshot := opatest.Load(t, opatest.Hook("input.request.n == 9007199254740993\n"+opatest.SomeEntry))
	require.Empty(t, opatest.Verdict(t, snapshot, opatest.Registering(t, `, "n": 9007199254740992`)).Violations, "which are one float64")
}

func TestSecretKeysAreASet(t *testing.T) {
	snapshot := opatest.Load(t, opatest.Hook("input.facts.secret_keys.MODEL\n\"MODEL\" in input.facts.secret_keys\n"+
		"some key in input.facts.secret_keys\nviolation := {\"reason\": key, \"message\": \"m\"}"))
	in := opatest.Registering(t, "")
	in.Facts = opatest.Facts(t, `{"kind": "platform"}`, "MODEL", "B", "A")
	var reasons []string
	for _, violation := range opatest.Verdict(t, snapshot, in).Violations {
		reasons = append(reasons, violation.Reason)
	}
	require.Equal(t, []string{"A", "B", "MODEL"}, reasons)
	require.True(t, slices.IsSorted(reasons))
}
