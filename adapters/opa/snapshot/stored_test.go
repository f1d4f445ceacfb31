package snapshot_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/opatest"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
	"github.com/molecule-ai/gatehouse/server/audit"
)

// cardRules deny a workspace that sends no card, one that has no name at all, and one that sends more than five members. The
// first two add to the same set.
const cardRules = `package admission.register

# METADATA
# title: A workspace has a card and a name
# description: A workspace without a card or a name is found by nobody.
# custom: {code: CARD_MISSING, severity: high, status: 400, mark_failed: true}
deny contains violation if some violation in card_problems

card_problems contains {"reason": "card_missing", "message": "There is no card."} if not has_card

card_problems contains {"reason": "name_missing", "message": "There is no name."} if not input.request.name

has_card if input.request.agent_card.name

# METADATA
# title: Requests are small
# description: A request has few members.
# custom: {code: REQUEST_LARGE, severity: low, status: 400, mark_failed: true}
deny contains {"reason": "large", "message": "The request is large."} if count(input.request) < 5
`

// A rule that reads members that only a request has would hold for every stored workspace. An audit that enforces would mark
// them all failed. Such a rule is left out and named. Other rules of the same set stay.
func TestOfStoredLeavesOutRulesThatReadRequests(t *testing.T) {
	shipped := opatest.Load(t, opatest.ShippedWith(t, []string{"register/card.rego", cardRules}))
	stored := func(known ...string) (snapshot.Checked, []string, []audit.NotJudged) {
		judging, read, notJudged, err := shipped.OfStored(t.Context(), "register", known)
		require.NoError(t, err)
		require.Equal(t, shipped.Revision(), judging.Revision())
		return judging.Checked(), read, notJudged
	}
	codes := func(rules admission.Evaluable, request string) []string {
		in := storedPlatform(t, request)
		verdict, err := rules.Evaluate(t.Context(), in, time.Now())
		require.NoError(t, err)
		var found []string
		for _, violation := range verdict.Violations {
			found = append(found, violation.Code+" "+violation.Reason)
		}
		return found
	}
	const gate = "PLATFORM_AGENT_IDENTITY_GATE model_missing"
	const id = `{"id": "00000000-0000-4000-8000-000000000001", "url": "https://agent.example.com"}`
	require.ElementsMatch(t, []string{gate, "CARD_MISSING card_missing", "CARD_MISSING name_missing", "REQUEST_LARGE large"}, codes(shipped.Checked(), id))

	rules, read, notJudged := stored("id", "kind", "url", "delivery_mode", "name", "status")
	require.Equal(t, []string{gate, "CARD_MISSING name_missing"}, codes(rules, id))
	require.Equal(t, []string{"id", "kind", "url", "delivery_mode", "name", "status"}, append([]string{}, read...), "the whole request is read, and so each of them")
	require.Contains(t, notJudged, audit.NotJudged{Rule: "card", Code: "CARD_MISSING", Reads: []string{"input.request.agent_card"}})
	require.Contains(t, notJudged, audit.NotJudged{Rule: "card", Code: "REQUEST_LARGE", Reads: []string{"input.request"}})
	require.Contains(t, notJudged, audit.NotJudged{
		Rule: "platform_requires_model", Code: "PLATFORM_AGENT_IDENTITY_GATE", Reads: []string{"input.request.mcp_server_present"},
	})

	rules, _, _ = stored("id", "kind", "url", "delivery_mode", "name", "agent_card")
	require.Equal(t, []string{gate, "CARD_MISSING card_missing", "CARD_MISSING name_missing"}, codes(rules, id), "the rows have cards")
}

// storedPlatform is the registration of a stored platform agent without its MODEL.
func storedPlatform(t *testing.T, request string) admission.Input {
	t.Helper()
	facts, err := admission.NewFacts(true, []byte(`{"kind": "platform", "status": "provisioning"}`), nil, nil)
	require.NoError(t, err)
	review, err := decode.Payload("register", []byte(request), admission.Token, decode.DefaultMaxDepth)
	require.NoError(t, err)
	return admission.NewInput(review, facts, admission.Deployment{})
}
