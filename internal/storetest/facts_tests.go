package storetest

import (
	"context"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
)

var factsTests = map[string]func(*testing.T, Harness){
	"an unknown workspace does not exist": func(t *testing.T, h Harness) {
		h.PutGlobalSecret(t, "API_KEY")

		got := facts(t, h.Store(), uuid.New())

		require.False(t, got.Exists)
		require.JSONEq(t, `{}`, string(got.Workspace))
		require.Empty(t, got.SecretKeys)
		require.Equal(t, []string{"API_KEY"}, got.GlobalSecretKeys)
	},
	"every member of a row is there": func(t *testing.T, h Harness) {
		id, parent := uuid.New(), uuid.New()
		h.PutWorkspace(t, parent, platform(ordinary))
		want := admission.Workspace{
			Name: "Zoë \"<&>\" \u2028", Kind: "workspace", Status: new("degraded"), Tier: new(int64(3)),
			Runtime: new("python"), Role: new("helper"), URL: new("https://agent.example.com/"),
			ParentID: new(parent.String()), WorkspaceAccess: new("read_write"), WorkspaceDir: new("/srv/w"),
			BudgetLimit: new(int64(1) << 60), MonthlySpend: new(int64(250)), LastSampleError: new("late"),
			DeliveryMode: "poll",
		}
		h.PutWorkspace(t, id, want)

		got := facts(t, h.Store(), id)

		require.True(t, got.Exists)
		var row admission.Workspace
		require.NoError(t, json.Unmarshal(got.Workspace, &row, json.RejectUnknownMembers(true)))
		require.Equal(t, want, row)
		require.Equal(t, "workspace", got.Kind())
	},
	"a NULL is null": func(t *testing.T, h Harness) {
		id := uuid.New()
		h.PutWorkspace(t, id, admission.Workspace{Name: "bare", Kind: "platform", DeliveryMode: "push"})

		got := facts(t, h.Store(), id)

		var row map[string]any
		require.NoError(t, json.Unmarshal(got.Workspace, &row))
		for _, member := range []string{"status", "tier", "runtime", "parent_id", "budget_limit", "last_sample_error"} {
			require.Contains(t, row, member)
			require.Nil(t, row[member], member)
		}
	},
	"keys of secrets are exact, sorted and the workspace's own": func(t *testing.T, h Harness) {
		id, other := uuid.New(), uuid.New()
		h.PutWorkspace(t, id, platform())
		h.PutWorkspace(t, other, platform(ordinary))
		h.PutSecret(t, other, model)
		for _, key := range []string{"model", "MODEL_PROVIDER", "MODEL ", "Zürich", ""} {
			h.PutSecret(t, id, key)
		}
		h.PutGlobalSecret(t, model)
		h.PutGlobalSecret(t, "ALPHA")

		got := facts(t, h.Store(), id)

		require.Equal(t, []string{"", "MODEL ", "MODEL_PROVIDER", "Zürich", "model"}, got.SecretKeys)
		require.Equal(t, []string{"ALPHA", model}, got.GlobalSecretKeys)
	},
	"a secret that is gone is not seen": func(t *testing.T, h Harness) {
		id := uuid.New()
		h.PutWorkspace(t, id, platform())
		h.PutSecret(t, id, model)
		require.Equal(t, []string{model}, facts(t, h.Store(), id).SecretKeys)

		h.DeleteSecret(t, id, model)

		require.Empty(t, facts(t, h.Store(), id).SecretKeys)
	},
	"facts that nobody changed are equal": func(t *testing.T, h Harness) {
		id := uuid.New()
		h.PutWorkspace(t, id, platform())
		h.PutSecret(t, id, model)
		before := facts(t, h.Store(), id)
		require.True(t, before.Equal(facts(t, h.Store(), id)))

		h.PutWorkspace(t, id, platform(status("online")))

		require.False(t, before.Equal(facts(t, h.Store(), id)))
	},
	"a context that has ended is an error": func(t *testing.T, h Harness) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()

		_, err := h.Store().Facts(ctx, uuid.New())

		require.ErrorIs(t, err, context.Canceled)
	},
}
