package snapshot_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNumbersKeepTheirDigitsOnTheWayToAPolicy(t *testing.T) {
	for _, number := range []string{"12345678901234567890", "9007199254740993", "0.1000000000000000055511151231257827", "1.10"} {
		snapshot := load(t, hook(fmt.Sprintf("input.request.n == %s\nviolation := {\"reason\": \"r\", \"message\": sprintf(\"%%v\", [input.request.n])}", number)))
		require.Len(t, verdict(t, snapshot, registering(t, `, "n": `+number)).Violations, 1, number)
	}
	snapshot := load(t, hook("input.request.n == 9007199254740993\n"+someEntry))
	require.Empty(t, verdict(t, snapshot, registering(t, `, "n": 9007199254740992`)).Violations, "which are one float64")
}

func TestAKeyCanBeLookedUpAndIterated(t *testing.T) {
	snapshot := load(t, hook("input.facts.secret_keys.MODEL\n\"MODEL\" in input.facts.secret_keys\n"+
		"some key in input.facts.secret_keys\nviolation := {\"reason\": key, \"message\": \"m\"}"))
	in := registering(t, "")
	in.Facts = facts(t, `{"kind": "platform"}`, "MODEL", "B", "A")
	var reasons []string
	for _, violation := range verdict(t, snapshot, in).Violations {
		reasons = append(reasons, violation.Reason)
	}
	require.Equal(t, []string{"A", "B", "MODEL"}, reasons)
	require.True(t, slices.IsSorted(reasons))
}
