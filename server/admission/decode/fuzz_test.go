package decode_test

import (
	stdjson "encoding/json"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
)

func FuzzDecodeReview(f *testing.F) {
	for _, seed := range []string{
		``, `null`, `{}`, `[]`, `"`, `{"workspace": -`,
		envelope(withID("")),
		`{"uid": "r", "dry_run": true, "caller_proof": "bootstrap", "workspace": ` + withID(`"kind": "platform", "url": "http://0x7f.1/"`) + `}`,
		`{"uid": null, "caller_proof": null, "workspace": {"id": "{01890A5DAC96774BBCCEB302099A8057}"}}`,
		envelope(withID(`"a": {"a": [1, 1e308, -0.0E-3, 0e99999999999999999999, 1e400]}`)),
		envelope(withID(`"a": "\\u0000\ud83d\ude00\"\/"`)),
		envelope(withID(`"a": "\u0000"`)), envelope(withID(`"a": "\ud800"`)), envelope(withID("\"a\": \"\xff\"")),
		envelope(withID(`"a": 1, "\u0061": 1`)),
		envelope(withID(`"a": {"kind": "platform", "b": [{"url": "}]"}, "\\\""]}, "\u006bind" : "\u0070latform" ,"url":"http://a.example"`)),
		envelope(withID(`"kind": {"kind": "platform"}, "url": null`)), envelope(withID(`"kind": ["platform"], "url": -1.5e3`)),
		envelope(withID(`"a": ` + strings.Repeat("[", 62) + strings.Repeat("]", 62))),
		envelope(withID(`"a": ` + strings.Repeat("[", 63) + strings.Repeat("]", 63))),
		envelope(withID("\"\u212aind\": \"platform\", \"URL\": \"\"")), envelope(withID(`"kind": "workspace", "Kind": "platform"`)),
		envelope(withID("")) + " {}", `{"Workspace": {}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := decode.Review("register", body, decode.DefaultMaxDepth)
		if err != nil {
			require.Equal(t, admission.CodeMalformedRequest, admission.AsError(err).Code)
			return
		}
		require.True(t, jsontext.Value(body).IsValid(), "what jsontext refuses is refused")
		require.True(t, stdjson.Valid(body))
		require.True(t, got.Workspace.IsValid())
		require.Equal(t, jsontext.Kind('{'), got.Workspace.Kind())

		var members map[string]any
		require.NoError(t, json.Unmarshal(got.Workspace, &members))
		kind, _ := members["kind"].(string)
		require.Equal(t, kind, got.Kind)
		url, _ := members["url"].(string)
		require.Equal(t, decode.ParseURL(url), got.URL)
		id, _ := members["id"].(string)
		read, err := decode.ParseWorkspaceID(id)
		require.NoError(t, err)
		require.Equal(t, read, got.WorkspaceID)

		var theirs registered
		if stdjson.Unmarshal(got.Workspace, &theirs) == nil {
			mode, _ := members["delivery_mode"].(string)
			present, told := members["mcp_server_present"].(bool)
			require.Equal(t, []string{id, kind, url, mode}, []string{theirs.ID, theirs.Kind, theirs.URL, theirs.DeliveryMode}, "the registry reads the same")
			require.Equal(t, told && !present, theirs.MCPServerPresent != nil && !*theirs.MCPServerPresent)
		}

		facts, err := admission.NewFacts(false, nil, nil, nil)
		require.NoError(t, err)
		input, err := admission.NewInput(got, facts, admission.Deployment{}).JSON()
		require.NoError(t, err, "whatever is accepted can be recorded")
		var recorded admission.Input
		require.NoError(t, json.Unmarshal(input, &recorded))

		envelope, err := json.Marshal(map[string]any{"uid": got.UID, "dry_run": got.DryRun, "caller_proof": string(got.CallerProof)})
		require.NoError(t, err)
		again := strings.TrimSuffix(string(envelope), "}") + `, "workspace": ` + string(got.Workspace) + "}"
		second, err := decode.Review("register", []byte(again), decode.DefaultMaxDepth)
		require.NoError(t, err)
		require.Equal(t, got.UID, second.UID)
		require.Equal(t, got.Digest(), second.Digest())
		require.Equal(t, got.WorkspaceID, second.WorkspaceID)

		canonical, err := uuid.Parse(got.WorkspaceID.String())
		require.NoError(t, err)
		require.Equal(t, canonical, got.WorkspaceID)
	})
}
