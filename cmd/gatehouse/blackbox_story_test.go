package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/internal/testenv"
)

const identitySentence = "The platform agent has no MODEL secret of its own."

// The incident, from the registry's side: what happened there cannot happen past Gatehouse.
func TestPlatformAgentWithoutItsModelServesNobody(t *testing.T) {
	t.Parallel()
	database, broker := testenv.DatabaseURL(t, testenv.RegistryCurrent), testenv.RedisURL(t)
	reg, heard := cmdtest.NewRegistry(t, database), cmdtest.Subscribe(t, broker)
	gate := cmdtest.Start(t, "--database-url", database, "--redis-url", broker).WaitReady()
	id := reg.Workspace("platform", "provisioning")
	cmdtest.SetLiveness(t, broker, id)

	denied := gate.Review("register", cmdtest.RegisterBody(id))
	require.False(t, *denied.Allowed)
	require.Equal(t, 400, denied.Status.Code)
	require.Equal(t, "PLATFORM_AGENT_IDENTITY_GATE", denied.Status.Reason)
	require.Equal(t, "platform agent identity incomplete", denied.Status.Message)
	require.Equal(t, "model_missing", denied.Violations[0].Reason)
	require.True(t, denied.MarkedFailed)

	status, lastError := reg.Status(id)
	require.Equal(t, "failed", status)
	require.Equal(t, identitySentence, lastError)
	require.Equal(t, 1, reg.StructureEvents(id))
	require.Equal(t, 1, reg.LedgerEvents(id))
	require.Equal(t, 1, reg.Decisions(id))
	require.JSONEq(t, string(*denied.Event), heard.Next(t, id))
	require.Zero(t, cmdtest.LivenessKeys(t, broker, id))
	require.Equal(t, "1", gate.Metric(cmdtest.Denials("register")))
	requireEvent(t, *denied.Event, id.String())

	// It registers again every few seconds, leaving its kind out: denied each time, announced once.
	again := gate.Review("register", cmdtest.RegisterBody(id))
	require.False(t, *again.Allowed)
	require.False(t, again.MarkedFailed)
	require.Nil(t, again.Event)
	require.Equal(t, 1, reg.StructureEvents(id))
	require.Equal(t, "2", gate.Metric(cmdtest.Denials("register")))

	// A heartbeat is the other way online.
	beat := gate.Review("heartbeat", cmdtest.HeartbeatBody(id, "failed"))
	require.False(t, *beat.Allowed)
	require.Equal(t, "1", gate.Metric(cmdtest.Denials("heartbeat")))

	// Other spellings and a global secret do not count.
	for _, key := range []string{"model", "MODEL ", "MODEL_PROVIDER"} {
		reg.Seed(id, key)
	}
	reg.Exec(`insert into global_secrets (key, encrypted_value) values ('MODEL', $1)`, []byte(cmdtest.PlantedValue))
	require.False(t, *gate.Review("register", cmdtest.RegisterBody(id)).Allowed)

	reg.Seed(id, "MODEL")
	require.True(t, *gate.Review("register", cmdtest.RegisterBody(id)).Allowed)
	require.True(t, *gate.Review("heartbeat", cmdtest.HeartbeatBody(id, "failed")).Allowed)

	reg.SetStatus(id, "removed")
	removed := gate.Review("register", cmdtest.RegisterBody(id))
	require.False(t, *removed.Allowed)
	require.Equal(t, "WORKSPACE_REMOVED", removed.Status.Reason)
	reg.Unseed(id)
	require.False(t, *gate.Review("register", cmdtest.RegisterBody(id)).Allowed)
	status, _ = reg.Status(id)
	require.Equal(t, "removed", status, "a removed row stays removed")
	require.Equal(t, 1, reg.StructureEvents(id))
	heard.NoMore(t, id)

	gate.End()
	require.NotContains(t, gate.Logged(), cmdtest.PlantedValue)
}

func requireEvent(t *testing.T, text json.RawMessage, id string) {
	t.Helper()
	var event struct {
		Event       string            `json:"event"`
		WorkspaceID string            `json:"workspace_id"`
		Timestamp   string            `json:"timestamp"`
		Payload     map[string]string `json:"payload"`
	}
	require.NoError(t, json.Unmarshal(text, &event))
	require.Equal(t, "WORKSPACE_PROVISION_FAILED", event.Event)
	require.Equal(t, id, event.WorkspaceID)
	require.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$`, event.Timestamp)
	require.Equal(t, map[string]string{
		"error": identitySentence, "code": "PLATFORM_AGENT_IDENTITY_GATE", "reason": "model_missing",
	}, event.Payload)
}

// The registry's canvas reads the payload that structure_events has, after a reload.
func TestRegistrysOwnEventCarriesThePayload(t *testing.T) {
	t.Parallel()
	database := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	reg := cmdtest.NewRegistry(t, database)
	gate := cmdtest.Start(t, "--database-url", database).WaitReady()
	id := reg.Workspace("platform", "online")
	require.True(t, gate.Review("register", cmdtest.RegisterBody(id)).MarkedFailed)

	var kind string
	var payload map[string]string
	require.NoError(t, reg.Pool.QueryRow(t.Context(),
		`select event_type, payload from structure_events where workspace_id = $1`, id).Scan(&kind, &payload))
	require.Equal(t, "WORKSPACE_PROVISION_FAILED", kind)
	require.Equal(t, identitySentence, payload["error"])
}

func TestUnprovedCallersMarkNothing(t *testing.T) {
	t.Parallel()
	database := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	reg := cmdtest.NewRegistry(t, database)
	gate := cmdtest.Start(t, "--database-url", database).WaitReady()
	id := reg.Workspace("workspace", "online")
	claim := func(proof string) cmdtest.WireAnswer {
		return gate.Review("register", fmt.Sprintf(
			`{"caller_proof": %q, "workspace": {"id": %q, "kind": "platform", "url": "https://agent.example.com"}}`, proof, id))
	}

	require.False(t, *claim("bootstrap").Allowed)
	status, _ := reg.Status(id)
	require.Equal(t, "online", status)

	require.True(t, claim("token").MarkedFailed)
	status, _ = reg.Status(id)
	require.Equal(t, "failed", status)
}

func TestDryRunWritesNothing(t *testing.T) {
	t.Parallel()
	database, broker := testenv.DatabaseURL(t, testenv.RegistryCurrent), testenv.RedisURL(t)
	reg := cmdtest.NewRegistry(t, database)
	gate := cmdtest.Start(t, "--database-url", database, "--redis-url", broker).WaitReady()
	id := reg.Workspace("platform", "provisioning")

	body := strings.Replace(cmdtest.RegisterBody(id), "{", `{"dry_run": true, "uid": "dry", `, 1)
	answer := gate.Review("register", body)
	require.False(t, *answer.Allowed)
	require.False(t, answer.MarkedFailed)
	require.Nil(t, answer.Event)
	status, _ := reg.Status(id)
	require.Equal(t, "provisioning", status)
	require.Zero(t, reg.Decisions(id))
	require.Zero(t, reg.StructureEvents(id))
	require.Zero(t, reg.Count(`select count(*) from gatehouse.river_job`))
	require.Equal(t, "1", gate.Metric(`gatehouse_admission_decisions_total{code="PLATFORM_AGENT_IDENTITY_GATE",decision="dry_run",hook="register",kind="platform"}`))
}

func TestSameUIDIsAnsweredFromTheRecord(t *testing.T) {
	t.Parallel()
	database := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	reg := cmdtest.NewRegistry(t, database)
	gate := cmdtest.Start(t, "--database-url", database).WaitReady()
	id := reg.Workspace("platform", "provisioning")
	body := strings.Replace(cmdtest.RegisterBody(id), "{", `{"uid": "request-1", `, 1)

	status, first := gate.Post("/v1/admission/register", body)
	require.Equal(t, http.StatusOK, status)
	require.True(t, cmdtest.ParseAnswer(t, first).MarkedFailed)
	reg.Seed(id, "MODEL") // the world has moved on; the answer has not
	status, second := gate.Post("/v1/admission/register", body)
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, first, second)
	require.Equal(t, 1, reg.Decisions(id))
	require.Equal(t, 1, reg.StructureEvents(id))

	status, problem := gate.Post("/v1/admission/register", strings.Replace(body, "agent.example.com", "other.example.com", 1))
	require.Equal(t, http.StatusConflict, status)
	require.Contains(t, problem, `"code":"uid_conflict"`)
}

func TestMalformedIDReachesNoDatabase(t *testing.T) {
	t.Parallel()
	database := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	reg := cmdtest.NewRegistry(t, database)
	gate := cmdtest.Start(t, "--database-url", database).WaitReady()
	status, problem := gate.Post("/v1/admission/register", `{"workspace": {"id": "not-a-uuid"}}`)
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, problem, `"code":"malformed_request"`)
	require.Zero(t, reg.Count(`select count(*) from gatehouse.decisions`))

	// The row is found whatever the spelling of its id, and told by its canonical one.
	id := reg.Workspace("platform", "provisioning")
	spelled := strings.Replace(cmdtest.RegisterBody(id), id.String(), "{"+strings.ToUpper(strings.ReplaceAll(id.String(), "-", ""))+"}", 1)
	answer := gate.Review("register", spelled)
	require.True(t, answer.MarkedFailed)
	requireEvent(t, *answer.Event, id.String())
}

func TestBatchAndRelayAnswerFromTheSameGate(t *testing.T) {
	t.Parallel()
	database := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	reg := cmdtest.NewRegistry(t, database)
	gate := cmdtest.Start(t, "--database-url", database).WaitReady()
	bad, good := reg.Workspace("platform", "provisioning"), reg.Workspace("workspace", "online")

	status, text := gate.Post("/v1/admission/register/batch",
		fmt.Sprintf(`{"reviews": [%s, %s, %s]}`, cmdtest.RegisterBody(good), cmdtest.RegisterBody(bad), cmdtest.RegisterBody(good)))
	require.Equal(t, http.StatusOK, status, text)
	var batch struct{ Decisions []cmdtest.WireAnswer }
	require.NoError(t, json.Unmarshal([]byte(text), &batch))
	require.Len(t, batch.Decisions, 3)
	require.Equal(t, []bool{true, false, true}, []bool{*batch.Decisions[0].Allowed, *batch.Decisions[1].Allowed, *batch.Decisions[2].Allowed})
	require.Equal(t, 3, reg.Count(`select count(*) from gatehouse.decisions`))

	payload := func(id fmt.Stringer) string {
		return fmt.Sprintf(`{"id": %q, "url": "https://agent.example.com", "agent_card": null, "delivery_mode": "push"}`, id)
	}
	status, text = gate.Post("/registry/register", payload(good))
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `{"status": "admitted"}`, text)
	status, text = gate.Post("/registry/register", payload(bad))
	require.Equal(t, http.StatusBadRequest, status)
	require.JSONEq(t, `{"error": "platform agent identity incomplete", "code": "PLATFORM_AGENT_IDENTITY_GATE"}`, text)
}
