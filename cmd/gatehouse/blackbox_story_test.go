package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/internal/testenv"
)

const identitySentence = "The platform agent has no MODEL secret of its own."

func denials(hook string) string {
	return fmt.Sprintf(`gatehouse_admission_decisions_total{code="PLATFORM_AGENT_IDENTITY_GATE",decision="deny",hook=%q,kind="platform"}`, hook)
}

// metric gives the value of a series, "0" if it is not there.
func (p *program) metric(series string) string {
	p.t.Helper()
	status, text := p.get("/metrics")
	require.Equal(p.t, http.StatusOK, status)
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(line, series+" "); found {
			return strings.TrimSpace(value)
		}
	}
	return "0"
}

// The incident, from the registry's side: what happened there cannot happen past Gatehouse.
func TestAPlatformAgentWithoutItsModelServesNobody(t *testing.T) {
	database, broker := testenv.DatabaseURL(t, testenv.RegistryCurrent), testenv.RedisURL(t)
	reg, heard := newRegistry(t, database), subscribe(t, broker)
	gate := start(t, "--database-url", database, "--redis-url", broker).waitReady()
	id := reg.workspace("platform", "provisioning")
	setLiveness(t, broker, id)

	denied := gate.review("register", registerBody(id))
	require.False(t, *denied.Allowed)
	require.Equal(t, 400, denied.Status.Code)
	require.Equal(t, "PLATFORM_AGENT_IDENTITY_GATE", denied.Status.Reason)
	require.Equal(t, "platform agent identity incomplete", denied.Status.Message)
	require.Equal(t, "model_missing", denied.Violations[0].Reason)
	require.True(t, denied.MarkedFailed)

	status, lastError := reg.status(id)
	require.Equal(t, "failed", status)
	require.Equal(t, identitySentence, lastError)
	require.Equal(t, 1, reg.structureEvents(id))
	require.Equal(t, 1, reg.ledgerEvents(id))
	require.Equal(t, 1, reg.decisions(id))
	require.JSONEq(t, string(*denied.Event), heard.next(t))
	require.Zero(t, livenessKeys(t, broker, id))
	require.Equal(t, "1", gate.metric(denials("register")))
	requireEvent(t, *denied.Event, id.String())

	// It registers again every few seconds, leaving its kind out: denied each time, announced once.
	again := gate.review("register", registerBody(id))
	require.False(t, *again.Allowed)
	require.False(t, again.MarkedFailed)
	require.Nil(t, again.Event)
	require.Equal(t, 1, reg.structureEvents(id))
	require.Equal(t, "2", gate.metric(denials("register")))

	// A heartbeat is the other way online.
	beat := gate.review("heartbeat", heartbeatBody(id, "failed"))
	require.False(t, *beat.Allowed)
	require.Equal(t, "1", gate.metric(denials("heartbeat")))

	// Other spellings and a global secret do not count.
	for _, key := range []string{"model", "MODEL ", "MODEL_PROVIDER"} {
		reg.seed(id, key)
	}
	reg.exec(`insert into global_secrets (key, encrypted_value) values ('MODEL', $1)`, []byte(plantedValue))
	require.False(t, *gate.review("register", registerBody(id)).Allowed)

	reg.seed(id, "MODEL")
	require.True(t, *gate.review("register", registerBody(id)).Allowed)
	require.True(t, *gate.review("heartbeat", heartbeatBody(id, "failed")).Allowed)

	reg.setStatus(id, "removed")
	removed := gate.review("register", registerBody(id))
	require.False(t, *removed.Allowed)
	require.Equal(t, "WORKSPACE_REMOVED", removed.Status.Reason)
	reg.unseed(id)
	require.False(t, *gate.review("register", registerBody(id)).Allowed)
	status, _ = reg.status(id)
	require.Equal(t, "removed", status, "a removed row stays removed")
	require.Equal(t, 1, reg.structureEvents(id))
	require.Empty(t, heard.messages, "one mark, one message")

	gate.end()
	require.NotContains(t, gate.logged(), plantedValue)
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
func TestTheRegistrysOwnEventCarriesThePayload(t *testing.T) {
	database := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	reg := newRegistry(t, database)
	gate := start(t, "--database-url", database).waitReady()
	id := reg.workspace("platform", "online")
	require.True(t, gate.review("register", registerBody(id)).MarkedFailed)

	var kind string
	var payload map[string]string
	require.NoError(t, reg.pool.QueryRow(t.Context(),
		`select event_type, payload from structure_events where workspace_id = $1`, id).Scan(&kind, &payload))
	require.Equal(t, "WORKSPACE_PROVISION_FAILED", kind)
	require.Equal(t, identitySentence, payload["error"])
}

func TestClaimsThatNobodyProvedMarkNothing(t *testing.T) {
	database := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	reg := newRegistry(t, database)
	gate := start(t, "--database-url", database).waitReady()
	id := reg.workspace("workspace", "online")
	claim := func(proof string) wireAnswer {
		return gate.review("register", fmt.Sprintf(
			`{"caller_proof": %q, "workspace": {"id": %q, "kind": "platform", "url": "https://agent.example.com"}}`, proof, id))
	}

	require.False(t, *claim("bootstrap").Allowed)
	status, _ := reg.status(id)
	require.Equal(t, "online", status)

	require.True(t, claim("token").MarkedFailed)
	status, _ = reg.status(id)
	require.Equal(t, "failed", status)
}

func TestADryRunWritesNothing(t *testing.T) {
	database, broker := testenv.DatabaseURL(t, testenv.RegistryCurrent), testenv.RedisURL(t)
	reg := newRegistry(t, database)
	gate := start(t, "--database-url", database, "--redis-url", broker).waitReady()
	id := reg.workspace("platform", "provisioning")

	body := strings.Replace(registerBody(id), "{", `{"dry_run": true, "uid": "dry", `, 1)
	answer := gate.review("register", body)
	require.False(t, *answer.Allowed)
	require.False(t, answer.MarkedFailed)
	require.Nil(t, answer.Event)
	status, _ := reg.status(id)
	require.Equal(t, "provisioning", status)
	require.Zero(t, reg.decisions(id))
	require.Zero(t, reg.structureEvents(id))
	require.Zero(t, reg.count(`select count(*) from gatehouse.river_job`))
	require.Equal(t, "1", gate.metric(`gatehouse_admission_decisions_total{code="PLATFORM_AGENT_IDENTITY_GATE",decision="dry_run",hook="register",kind="platform"}`))
}

func TestTheSameUidIsAnsweredFromTheRecord(t *testing.T) {
	database := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	reg := newRegistry(t, database)
	gate := start(t, "--database-url", database).waitReady()
	id := reg.workspace("platform", "provisioning")
	body := strings.Replace(registerBody(id), "{", `{"uid": "request-1", `, 1)

	status, first := gate.post("/v1/admission/register", body)
	require.Equal(t, http.StatusOK, status)
	require.True(t, parseAnswer(t, first).MarkedFailed)
	reg.seed(id, "MODEL") // the world has moved on; the answer has not
	status, second := gate.post("/v1/admission/register", body)
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, first, second)
	require.Equal(t, 1, reg.decisions(id))
	require.Equal(t, 1, reg.structureEvents(id))

	status, problem := gate.post("/v1/admission/register", strings.Replace(body, "agent.example.com", "other.example.com", 1))
	require.Equal(t, http.StatusConflict, status)
	require.Contains(t, problem, `"code":"uid_conflict"`)
}

func TestAMalformedIDReachesNoDatabase(t *testing.T) {
	database := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	reg := newRegistry(t, database)
	gate := start(t, "--database-url", database).waitReady()
	status, problem := gate.post("/v1/admission/register", `{"workspace": {"id": "not-a-uuid"}}`)
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, problem, `"code":"malformed_request"`)
	require.Zero(t, reg.count(`select count(*) from gatehouse.decisions`))

	// The row is found whatever the spelling of its id, and told by its canonical one.
	id := reg.workspace("platform", "provisioning")
	spelled := strings.Replace(registerBody(id), id.String(), "{"+strings.ToUpper(strings.ReplaceAll(id.String(), "-", ""))+"}", 1)
	answer := gate.review("register", spelled)
	require.True(t, answer.MarkedFailed)
	requireEvent(t, *answer.Event, id.String())
}

func TestBatchAndRelayAnswerFromTheSameGate(t *testing.T) {
	database := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	reg := newRegistry(t, database)
	gate := start(t, "--database-url", database).waitReady()
	bad, good := reg.workspace("platform", "provisioning"), reg.workspace("workspace", "online")

	status, text := gate.post("/v1/admission/register/batch",
		fmt.Sprintf(`{"reviews": [%s, %s, %s]}`, registerBody(good), registerBody(bad), registerBody(good)))
	require.Equal(t, http.StatusOK, status, text)
	var batch struct{ Decisions []wireAnswer }
	require.NoError(t, json.Unmarshal([]byte(text), &batch))
	require.Len(t, batch.Decisions, 3)
	require.Equal(t, []bool{true, false, true}, []bool{*batch.Decisions[0].Allowed, *batch.Decisions[1].Allowed, *batch.Decisions[2].Allowed})
	require.Equal(t, 3, reg.count(`select count(*) from gatehouse.decisions`))

	payload := func(id fmt.Stringer) string {
		return fmt.Sprintf(`{"id": %q, "url": "https://agent.example.com", "agent_card": null, "delivery_mode": "push"}`, id)
	}
	status, text = gate.post("/registry/register", payload(good))
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `{"status": "admitted"}`, text)
	status, text = gate.post("/registry/register", payload(bad))
	require.Equal(t, http.StatusBadRequest, status)
	require.JSONEq(t, `{"error": "platform agent identity incomplete", "code": "PLATFORM_AGENT_IDENTITY_GATE"}`, text)
}
