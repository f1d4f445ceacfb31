package ledger_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

func TestFilterIDsBoundWhatPasses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := func(name string) time.Time { return time.UnixMicro(rapid.Int64Range(0, 1e9).Draw(t, name)) }
		d := admission.Decision{At: at("decided")}
		var err error
		d.ID, err = admission.NewDecisionID(d.At)
		require.NoError(t, err)
		filter := ledger.Filter{Since: at("since"), Until: at("until")}
		if filter.Passes(&d) {
			first, last := filter.IDs()
			require.LessOrEqual(t, bytes.Compare(first[:], d.ID[:]), 0)
			require.Negative(t, bytes.Compare(d.ID[:], last[:]))
		}
	})
	first, last := ledger.Filter{}.IDs()
	require.Equal(t, []uuid.UUID{uuid.Nil, uuid.Nil}, []uuid.UUID{first, last}, "no bounds")
}

func TestFilterTakesAFailureForNeitherAllowNorDeny(t *testing.T) {
	failed := &admission.Decision{Failed: &admission.Failure{Code: admission.CodePolicyError}}
	for _, allowed := range []bool{true, false} {
		require.False(t, ledger.Filter{Allowed: &allowed}.Passes(failed))
	}
	require.True(t, ledger.Filter{Failed: new(true), Code: "policy_error"}.Passes(failed))
	require.False(t, ledger.Filter{Failed: new(false)}.Passes(failed))
}
