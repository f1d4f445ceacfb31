package decisionlog_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/plugins/logs"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/decisionlog"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// opaEvent is OPA's own type, but for the error, which is an interface there that only OPA itself can write.
type opaEvent struct {
	logs.EventV1
	Error *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// decodeStrictly reads one event, of which OPA must know every member.
func decodeStrictly(text []byte) (opaEvent, error) {
	var event opaEvent
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	decoder.UseNumber()
	err := decoder.Decode(&event)
	return event, err
}

func members(of reflect.Type) map[string]string {
	found := make(map[string]string)
	for field := range of.Fields() {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" {
			found[name] = field.Name
		}
	}
	return found
}

func TestEventHasOnlyMembersOfOPA(t *testing.T) {
	theirs := members(reflect.TypeFor[logs.EventV1]())
	for name, field := range members(reflect.TypeFor[decisionlog.Event]()) {
		require.Equal(t, theirs[name], field, name)
	}
	require.Equal(t, members(reflect.TypeFor[logs.BundleInfoV1]()), members(reflect.TypeFor[decisionlog.Bundle]()))
}

func lines(t *testing.T, decisions ...admission.Decision) []string {
	t.Helper()
	var out bytes.Buffer
	w := decisionlog.NewEventWriter(&out, map[string]string{"app": "gatehouse", "region": "eu"})
	for i := range decisions {
		require.NoError(t, w.Write(&decisions[i]))
	}
	require.NoError(t, w.Close())
	require.True(t, strings.HasSuffix(out.String(), "\n"))
	return slices.Collect(strings.Lines(out.String()))
}

func TestOPAReadsEveryEventAsWhatItIs(t *testing.T) {
	deny, fault := denied(t), failed(t)
	written := lines(t, deny, fault)
	require.Len(t, written, 2)

	got, err := decodeStrictly([]byte(written[0]))
	require.NoError(t, err)
	require.Equal(t, map[string]string{"app": "gatehouse", "region": "eu"}, got.Labels)
	require.Equal(t, deny.ID.String(), got.DecisionID)
	require.Equal(t, map[string]logs.BundleInfoV1{"policies": {Revision: "sha256:0011"}}, got.Bundles)
	require.Equal(t, "admission/register", got.Path)
	require.Equal(t, "eu", got.RequestedBy)
	require.True(t, at().Equal(got.Timestamp))
	require.Equal(t, []string{"/input/request/agent_card"}, got.Erased)
	require.Equal(t, []string{"/input/request/name"}, got.Masked)
	require.Nil(t, got.Error)
	require.Equal(t, map[string]any{
		"timer_rego_query_eval_ns": json.Number("96000"), "timer_gatehouse_facts_ns": json.Number("412000"),
	}, got.Metrics)
	input, result := (*got.Input).(map[string]any), (*got.Result).(map[string]any)
	require.Equal(t, json.Number("12345678901234567890"), input["request"].(map[string]any)["n"], "numbers stay as they were sent")
	require.Equal(t, false, result["allowed"])
	require.Equal(t, "GATE", result["code"])
	require.Equal(t, true, result["marked_failed"])
	require.Equal(t, "WORKSPACE_PROVISION_FAILED", result["event"].(map[string]any)["event"])
	require.Len(t, result["violations"], 2)
	require.Equal(t, map[string]any{
		"uid": "u-1", "hook": "register", "workspace_id": deny.WorkspaceID.String(), "kind": "platform", "caller_proof": "token",
		"dry_run": false,
	}, got.Custom)

	got, err = decodeStrictly([]byte(written[1]))
	require.NoError(t, err)
	require.Nil(t, got.Input, "nothing of it is kept")
	require.Nil(t, got.Result)
	require.Equal(t, []string{"/input"}, got.Erased)
	require.Equal(t, "facts_unavailable", got.Error.Code)
	require.Equal(t, "the facts of the workspace cannot be read", got.Error.Message)
	require.NotContains(t, got.Custom, "uid")
}

func TestEventsAreTheSameEveryTime(t *testing.T) {
	d := denied(t)
	first := lines(t, d)
	for range 20 {
		require.Equal(t, first, lines(t, d))
	}
}
