package snapshot_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/server/admission"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// decided says whether the fast path can decide an input.
func decided(snapshot *snapshot.Snapshot, in admission.Input) bool {
	_, told := snapshot.FastPath(in.Hook).Entries(&in)
	return told
}

// undecided are the places of the rules that the fast path cannot tell.
func undecided(snapshot *snapshot.Snapshot, in admission.Input) []string {
	var places []string
	for _, rule := range snapshot.FastPath(in.Hook).Untold(&in) {
		places = append(places, rule.Location.String())
	}
	return places
}
