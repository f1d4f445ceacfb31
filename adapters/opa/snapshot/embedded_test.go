package snapshot_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/casetest"
	"github.com/molecule-ai/gatehouse/adapters/opa/opatest"
	policytests "github.com/molecule-ai/gatehouse/policies_test"
	"github.com/molecule-ai/gatehouse/server/admission"
)

func TestEmbeddedPoliciesGuardThePlatformAgent(t *testing.T) {
	snapshot := opatest.Embedded(t)
	platform := `{"kind": "platform", "status": "provisioning", "name": "concierge"}`

	denied, err := snapshot.Evaluate(t.Context(), opatest.Input(t, "register", opatest.PlatformRegister, opatest.Facts(t, platform, "model", "MODEL_PROVIDER")), time.Now())
	require.NoError(t, err)
	require.False(t, denied.Allowed())
	require.Equal(t, &admission.Violation{
		Rule: "platform_requires_model", Code: "PLATFORM_AGENT_IDENTITY_GATE", Reason: "model_missing",
		Message:  "The platform agent has no MODEL secret of its own.",
		Severity: admission.Critical, Enforcement: admission.Deny, Status: 400, MarkFailed: true,
		Answer: "platform agent identity incomplete",
	}, denied.Marking())

	allowed, err := snapshot.Evaluate(t.Context(), opatest.Input(t, "register", opatest.PlatformRegister, opatest.Facts(t, platform, "MODEL")), time.Now())
	require.NoError(t, err)
	require.True(t, allowed.Allowed())
	require.Empty(t, allowed.Violations)
	require.Equal(t, snapshot.Revision(), allowed.Revision)
}

func TestCatalogueHasEveryEmbeddedRule(t *testing.T) {
	snapshot := opatest.Embedded(t)
	require.Equal(t, []string{"heartbeat", "register"}, snapshot.Hooks())
	require.NotEmpty(t, snapshot.Rules())
	for _, rule := range snapshot.Rules() {
		require.NotEmpty(t, rule.Title, rule.Name)
		require.True(t, strings.HasPrefix(rule.Package, "admission."), rule.Package)
	}
}

// A shipped rule that needs OPA's evaluation would make live decisions slow.
func TestNoShippedRuleNeedsTheEngine(t *testing.T) {
	snapshot := opatest.Embedded(t)
	for name, in := range typical(t) {
		require.Empty(t, undecided(snapshot, in), "%s: these rules need the engine", name)
		require.True(t, decided(snapshot, in), name)
	}
	all, err := casetest.Load(policytests.FS, "cases")
	require.NoError(t, err)
	for _, one := range all {
		require.Empty(t, undecided(snapshot, one.Input()), "%s: %s: these rules need the engine", one.File, one.Name)
	}
}
