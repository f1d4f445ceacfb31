package httpapi_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
)

const payload = `{"id": "` + workspaceID + `", "url": "https://agent.example.com", "agent_card": null}`

func TestRelayAnswersInTheRegistrysWords(t *testing.T) {
	got := serve(t, nil).relay(payload)
	require.Equal(t, 200, got.status)
	require.Equal(t, "application/json", got.header.Get("Content-Type"))
	require.JSONEq(t, `{"status":"admitted"}`, got.body)

	got = serveReviewer(t, deny).relay(payload)
	require.Equal(t, 400, got.status)
	require.Equal(t, "application/json", got.header.Get("Content-Type"))
	require.JSONEq(t, `{"error":"platform agent identity incomplete","code":"PLATFORM_AGENT_IDENTITY_GATE"}`, got.body)

	forbidden := violation("PLATFORM_KIND", admission.High, admission.Deny)
	forbidden.Status = 403
	got = serveReviewer(t, func(context.Context, admission.Review) (admission.Decision, error) {
		return admission.Decision{Verdict: admission.NewVerdict([]admission.Violation{forbidden}, "")}, nil
	}).relay(payload)
	require.Equal(t, 403, got.status)
	require.JSONEq(t, `{"error":"It is platform_kind.","code":"PLATFORM_KIND"}`, got.body)
}

func TestRelayErrors(t *testing.T) {
	for _, row := range errorTable {
		t.Run(string(row.code), func(t *testing.T) {
			got := serveReviewer(t, failing(&admission.Error{Code: row.code, Detail: "what may be known", Err: errHidden})).relay(payload)
			require.Equal(t, "application/json", got.header.Get("Content-Type"))
			if row.status >= 500 {
				require.Equal(t, 500, got.status)
				require.JSONEq(t, `{"error":"registration failed"}`, got.body)
				return
			}
			require.Equal(t, row.status, got.status)
			require.JSONEq(t, `{"error":"what may be known","code":"`+string(row.code)+`"}`, got.body)
		})
	}
}

func TestRelayRefusesMalformedPayloads(t *testing.T) {
	s := serve(t, nil)
	for body, status := range map[string]int{
		registerBody: 400, // an envelope is not a payload
		`[]`:         400, `null`: 400, `{"id": "x"}`: 400, payload + payload: 400,
		`{"id": "` + workspaceID + `", "id": "` + workspaceID + `"}`: 400,
	} {
		got := s.relay(body)
		require.Equal(t, status, got.status, body)
		require.Contains(t, got.body, `"code":"malformed_request"`)
	}
	got := s.relay(payload, "Content-Type", "text/plain")
	require.Equal(t, 415, got.status)
	require.JSONEq(t, `{"error":"the Content-Type is not application/json","code":"unsupported_media_type"}`, got.body)
	require.Equal(t, 405, s.send(http.MethodGet, "/registry/register", "").status)
}

// A proxy passes this very body on to the registry. A name that the registry would read as another one is refused.
func TestRelayRefusesRespeltNames(t *testing.T) {
	reviewed := false
	s := serveReviewer(t, func(ctx context.Context, r admission.Review) (admission.Decision, error) {
		reviewed = true
		return allow(ctx, r)
	})
	for members, name := range map[string]string{
		`"ID": "00000000-0000-4000-8000-000000000002"`: "ID",
		`"Kind": "platform"`:                           "Kind",
		`"URL": "http://169.254.169.254/"`:             "URL",
		"\"\u212aind\": \"platform\"":                  `\u212aind`,
		"\"mcp_\u017ferver_present\": false":           `mcp_\u017ferver_present`,
	} {
		body := strings.TrimSuffix(payload, "}") + ", " + members + "}"
		got := s.relay(body)
		require.Equal(t, 400, got.status, body)
		var answered map[string]string
		require.NoError(t, json.Unmarshal([]byte(got.body), &answered))
		require.Contains(t, answered["error"], `"`+name+`"`)
		require.Equal(t, "malformed_request", answered["code"])
		requireProblem(t, s.register(`{"workspace": `+body+`}`), 400, admission.CodeMalformedRequest)
	}
	require.False(t, reviewed)
}

// Of two headers with a proof, the client may have sent one and the proxy the other. Neither counts.
func TestRelayRefusesTwoProofs(t *testing.T) {
	s := serve(t, nil)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/registry/register", strings.NewReader(payload))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	request.Header["Gatehouse-Caller-Proof"] = []string{"install", "bootstrap"}
	require.Equal(t, 400, s.do(request).status)
}

func TestRelayTakesCallersAsUnprovenByDefault(t *testing.T) {
	var got admission.Review
	s := serveReviewer(t, func(ctx context.Context, r admission.Review) (admission.Decision, error) {
		got = r
		return allow(ctx, r)
	})
	for header, proof := range map[string]admission.CallerProof{
		"": admission.Bootstrap, "bootstrap": admission.Bootstrap, "token": admission.Token, "install": admission.Install,
	} {
		require.Equal(t, 200, s.relay(payload, "Gatehouse-Caller-Proof", header).status)
		require.Equal(t, proof, got.CallerProof)
		require.Equal(t, "register", got.Hook)
		require.Equal(t, workspaceID, got.WorkspaceID.String())
		require.JSONEq(t, payload, string(got.Workspace))
	}
	for _, garbage := range []string{"oath", "Install", "token, install", "install;token"} {
		require.Equal(t, 400, s.relay(payload, "Gatehouse-Caller-Proof", garbage).status, garbage)
	}
}
