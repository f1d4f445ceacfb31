package admission_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
)

func TestShouldMark(t *testing.T) {
	cause := &admission.Violation{Message: "no MODEL"}
	for name, test := range map[string]struct {
		status, lastError string
		cause             *admission.Violation
		want              bool
	}{
		"provisioning":                     {"provisioning", "", cause, true},
		"online":                           {"online", "", cause, true},
		"no status":                        {"", "", cause, true},
		"a status of a later schema":       {"awaiting_agent", "", cause, true},
		"failed for another reason":        {"failed", "crashed", cause, true},
		"failed for this reason already":   {"failed", "no MODEL", cause, false},
		"online with this reason left":     {"online", "no MODEL", cause, true},
		"removed":                          {"removed", "", cause, false},
		"paused":                           {"paused", "", cause, false},
		"hibernated":                       {"hibernated", "", cause, false},
		"nothing marks":                    {"online", "", nil, false},
		"nothing marks a failed row again": {"failed", "", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.want, admission.ShouldMark(test.status, test.lastError, test.cause))
		})
	}
}

func TestMarkMakesTheRegistrysEvent(t *testing.T) {
	decision := admission.Decision{
		ID: uuid.New(), Hook: "register", At: time.Date(2026, 4, 1, 12, 0, 0, 123456000, time.UTC), WorkspaceID: uuid.MustParse(workspaceID),
		Verdict: admission.NewVerdict([]admission.Violation{
			{Code: "OTHER", Severity: admission.Critical, Enforcement: admission.Deny, Message: "other"},
			{Code: "PLATFORM_AGENT_IDENTITY_GATE", Reason: "model_missing", Message: "no MODEL", Answer: "incomplete",
				Severity: admission.High, Enforcement: admission.Deny, MarkFailed: true},
		}, "r1"),
	}
	require.NoError(t, decision.Mark())
	require.True(t, decision.MarkedFailed)
	require.NotEqual(t, uuid.Nil, decision.Event.ID)
	require.Equal(t, decision.ID, decision.Event.DecisionID)
	require.Equal(t, "register", decision.Event.Hook)
	text, err := json.Marshal(decision.Event)
	require.NoError(t, err)
	require.JSONEq(t, `{"event": "WORKSPACE_PROVISION_FAILED", "workspace_id": "`+workspaceID+`", "timestamp": "2026-04-01T12:00:00.123456Z",
		"payload": {"error": "no MODEL", "code": "PLATFORM_AGENT_IDENTITY_GATE", "reason": "model_missing"}}`, string(text))
}

func TestKindLabel(t *testing.T) {
	for _, test := range []struct{ requested, stored, want string }{
		{"platform", "", "platform"},
		{"", "platform", "platform"},
		{"workspace", "platform", "platform"},
		{"platform", "workspace", "platform"},
		{"nonsense", "platform", "platform"},
		{"workspace", "", "workspace"},
		{"workspace", "gadget", "workspace"},
		{"", "workspace", "workspace"},
		{"", "", "workspace"},
		{"", "gadget", "other"},
		{"nonsense", "", "other"},
		{"nonsense", "workspace", "other"},
		{"Platform", "workspace", "other"},
		{"platform ", "", "other"},
	} {
		require.Equal(t, test.want, admission.KindLabel(test.requested, test.stored), "%q %q", test.requested, test.stored)
	}
}

func TestAsErrorFindsTheCodeOfAWrappedError(t *testing.T) {
	cause := errors.New("connection refused")
	coded := &admission.Error{Code: admission.CodeFactsUnavailable, Detail: "unreadable", Err: cause}
	wrapped := fmt.Errorf("in the ledger: %w", coded)
	require.Same(t, coded, admission.AsError(wrapped))
	require.ErrorIs(t, wrapped, cause)
	require.Equal(t, "facts_unavailable: unreadable: connection refused", coded.Error())
	require.Equal(t, "not_ready", (&admission.Error{Code: admission.CodeNotReady}).Error())

	internal := admission.AsError(cause)
	require.Equal(t, admission.CodeInternal, internal.Code, "a mistake has a stable code too")
	require.Empty(t, internal.Detail, "and shows nothing")
	require.ErrorIs(t, internal, cause)
}

// WouldMark says what a ledger would do: a removed, paused or hibernated workspace is never marked.
func TestWouldMarkNeverMarksProtectedRows(t *testing.T) {
	denied := admission.NewVerdict([]admission.Violation{modelMissing}, "r1")
	for row, marked := range map[string]bool{
		"":                                     false,
		`{"kind": "platform"}`:                 true,
		`{"kind": "platform", "status": null}`: true,
		`{"kind": "platform", "status": "online"}`:                                                      true,
		`{"kind": "platform", "status": "removed"}`:                                                     false,
		`{"kind": "platform", "status": "paused"}`:                                                      false,
		`{"kind": "platform", "status": "hibernated"}`:                                                  false,
		`{"kind": "platform", "status": "failed", "last_sample_error": "container exited"}`:             true,
		`{"kind": "platform", "status": "failed", "last_sample_error": "` + modelMissing.Message + `"}`: false,
	} {
		require.Equal(t, marked, facts(t, row).WouldMark(denied), row)
		require.False(t, facts(t, row).WouldMark(admission.Verdict{}), row)
	}
}
