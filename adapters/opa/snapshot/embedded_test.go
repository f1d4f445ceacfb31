package snapshot_test

import (
	"context"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/policies"
	"github.com/molecule-ai/gatehouse/server/admission"
)

func schema(t testing.TB) []byte {
	t.Helper()
	text, err := fs.ReadFile(policies.FS, "input.schema.json")
	require.NoError(t, err)
	return text
}

func embedded(t testing.TB) *snapshot.Snapshot {
	t.Helper()
	snapshot, err := snapshot.New(context.Background(), snapshot.Source{Name: "embedded", FS: policies.FS}, schema(t))
	require.NoError(t, err)
	return snapshot
}

func input(t testing.TB, hook, body string, facts admission.Facts) admission.Input {
	t.Helper()
	review, err := admission.DecodeReview(hook, []byte(body), admission.DefaultMaxDepth)
	require.NoError(t, err)
	return admission.NewInput(review, facts, admission.Deployment{})
}

func facts(t testing.TB, workspace string, keys ...string) admission.Facts {
	t.Helper()
	found, err := admission.NewFacts(workspace != "", []byte(workspace), keys, nil)
	require.NoError(t, err)
	return found
}

const platformRegister = `{"workspace": {"id": "01890a5d-ac96-774b-bcce-b302099a8057", "url": "https://agent.example.com"}}`

func TestEmbeddedPoliciesGuardThePlatformAgent(t *testing.T) {
	snapshot := embedded(t)
	platform := `{"kind": "platform", "status": "provisioning", "name": "concierge"}`

	denied, err := snapshot.Evaluate(t.Context(), input(t, "register", platformRegister, facts(t, platform, "model", "MODEL_PROVIDER")), time.Now())
	require.NoError(t, err)
	require.False(t, denied.Allowed())
	require.Equal(t, &admission.Violation{
		Rule: "platform_requires_model", Code: "PLATFORM_AGENT_IDENTITY_GATE", Reason: "model_missing",
		Message:  "The platform agent has no MODEL secret of its own.",
		Severity: admission.Critical, Enforcement: admission.Deny, Status: 400, MarkFailed: true,
		Answer: "platform agent identity incomplete",
	}, denied.Marking())

	allowed, err := snapshot.Evaluate(t.Context(), input(t, "register", platformRegister, facts(t, platform, "MODEL")), time.Now())
	require.NoError(t, err)
	require.True(t, allowed.Allowed())
	require.Empty(t, allowed.Violations)
	require.Equal(t, snapshot.Revision(), allowed.Revision)
}

func TestEveryRuleOfTheEmbeddedPoliciesIsInTheCatalogue(t *testing.T) {
	snapshot := embedded(t)
	require.Equal(t, []string{"heartbeat", "register"}, snapshot.Hooks())
	require.NotEmpty(t, snapshot.Rules())
	for _, rule := range snapshot.Rules() {
		require.NotEmpty(t, rule.Title, rule.Name)
		require.True(t, strings.HasPrefix(rule.Package, "admission."), rule.Package)
	}
}
