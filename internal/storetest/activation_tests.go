package storetest

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/ledger"
)

var activationTests = map[string]func(*testing.T, Harness){
	"activations and refusals of policies are read newest first, and recorded once": func(t *testing.T, h Harness) {
		at := time.Date(2026, 4, 1, 12, 0, 0, 123_000, time.UTC)
		live := ledger.Activation{
			ID: uuid.Must(uuid.NewV7()), At: at, Source: "https://policies.example.com/bundle.tar.gz",
			Revision: "sha256:0123456789abcdef", Activated: true,
			Bundle: &ledger.Bundle{Revision: "v1", BuiltAt: at.Add(-time.Hour), SignedBy: "0123456789abcdef"},
		}
		refused := ledger.Activation{
			ID: uuid.Must(uuid.NewV7()), At: at.Add(time.Second), Source: live.Source, Reason: "some_rule.rego:3: “undefined”",
		}
		for _, activation := range []ledger.Activation{live, refused, live} {
			require.NoError(t, h.Store().RecordActivation(t.Context(), activation))
		}

		found, err := h.Store().Activations(t.Context(), 10)
		require.NoError(t, err)
		for i := range found {
			found[i].At = found[i].At.UTC()
		}
		require.Equal(t, []ledger.Activation{refused, live}, found)

		found, err = h.Store().Activations(t.Context(), 1)
		require.NoError(t, err)
		require.Len(t, found, 1)
		require.Equal(t, refused.ID, found[0].ID)
	},
	"the signed bundle that was live last is remembered, whatever came after it": func(t *testing.T, h Harness) {
		built := time.Date(2026, 4, 1, 12, 0, 0, 123_000, time.UTC)
		signed := func(revision string, builtAt time.Time) *ledger.Bundle {
			return &ledger.Bundle{Revision: revision, BuiltAt: builtAt, SignedBy: "0123456789abcdef"}
		}
		last, err := h.Store().LastSigned(t.Context())
		require.NoError(t, err)
		require.Nil(t, last)
		for _, c := range []struct {
			activated bool
			bundle    *ledger.Bundle
			last      *ledger.Bundle
		}{
			{true, nil, nil}, // a folder
			{true, &ledger.Bundle{Revision: "unsigned", BuiltAt: built}, nil},
			{true, signed("v2", built), signed("v2", built)},
			{false, nil, signed("v2", built)},
			{true, nil, signed("v2", built)},
			{true, signed("v1", built.Add(-time.Hour)), signed("v1", built.Add(-time.Hour))}, // an operator allowed it
			{true, signed("undated", time.Time{}), signed("undated", time.Time{})},
		} {
			require.NoError(t, h.Store().RecordActivation(t.Context(), ledger.Activation{
				ID: uuid.Must(uuid.NewV7()), At: time.Now(), Activated: c.activated, Bundle: c.bundle,
			}))
			last, err = h.Store().LastSigned(t.Context())
			require.NoError(t, err)
			require.Equal(t, c.last, last)
		}
	},
	"what is live is what was made live last": func(t *testing.T, h Harness) {
		live := func() string {
			revision, err := h.Store().LiveRevision(t.Context())
			require.NoError(t, err)
			return revision
		}
		require.Empty(t, live())
		for _, c := range []struct {
			revision  string
			activated bool
			live      string
		}{{"bad", false, ""}, {"r1", true, "r1"}, {"r2", true, "r2"}, {"bad", false, "r2"}, {"r1", true, "r1"}} {
			require.NoError(t, h.Store().RecordActivation(t.Context(), ledger.Activation{
				ID: uuid.Must(uuid.NewV7()), At: time.Now(), Revision: c.revision, Activated: c.activated,
			}))
			require.Equal(t, c.live, live())
		}
	},
}
