package httpapi_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi"
)

func serveStore(t *testing.T) (*service, *memory) {
	t.Helper()
	store := &memory{known: map[uuid.UUID]bool{uuid.MustParse(workspaceID): true}}
	return serve(t, func(o *httpapi.Options) { o.Workspaces, o.SecretKeys = store, store }), store
}

const workspacePath = "/v1/workspaces/" + workspaceID

func TestWorkspacePutAndDelete(t *testing.T) {
	s, store := serveStore(t)
	got := s.send(http.MethodPut, workspacePath, `{"name": "concierge", "kind": "platform", "status": "provisioning", "tier": 2, "parent_id": null}`)
	require.Equal(t, 204, got.status)
	require.Empty(t, got.body)
	status, tier := "provisioning", int64(2)
	require.Equal(t, admission.Workspace{Name: "concierge", Kind: "platform", Status: &status, Tier: &tier, DeliveryMode: "push"}, store.last)

	require.Equal(t, 204, s.send(http.MethodPut, workspacePath, `{}`).status)
	require.Equal(t, admission.Workspace{Kind: "workspace", DeliveryMode: "push"}, store.last)
	require.Equal(t, 204, s.send(http.MethodDelete, workspacePath, "").status)
	require.Equal(t, []string{"put " + workspaceID, "put " + workspaceID, "delete " + workspaceID}, store.noted())
}

func TestWorkspacePutTakesEverySpellingOfAnID(t *testing.T) {
	s, store := serveStore(t)
	for _, spelling := range []string{
		strings.ToUpper(workspaceID), "%7B" + workspaceID + "%7D",
		strings.ReplaceAll(workspaceID, "-", ""), strings.ReplaceAll(workspaceID, "-", "%2D"),
	} {
		require.Equal(t, 204, s.send(http.MethodPut, "/v1/workspaces/"+spelling, `{}`).status, spelling)
		require.Equal(t, 204, s.send(http.MethodPut, "/v1/workspaces/"+spelling+"/secrets/A%2FB", "").status, spelling)
	}
	for i, call := range store.noted() {
		require.Equal(t, []string{"put " + workspaceID, "put " + workspaceID + " A/B"}[i%2], call)
	}
}

func TestWorkspaceRoutesRefuseMalformedIDs(t *testing.T) {
	s, store := serveStore(t)
	for _, id := range []string{"x", "01890a5d", workspaceID + "0", "%00", "%FF", "%2F", workspaceID + "%00", "'%20or%20true", "%25"} {
		requireProblem(t, s.send(http.MethodPut, "/v1/workspaces/"+id, `{}`), 400, admission.CodeMalformedRequest)
		requireProblem(t, s.send(http.MethodDelete, "/v1/workspaces/"+id, ""), 400, admission.CodeMalformedRequest)
		requireProblem(t, s.send(http.MethodPut, "/v1/workspaces/"+id+"/secrets/MODEL", ""), 400, admission.CodeMalformedRequest)
		requireProblem(t, s.send(http.MethodDelete, "/v1/workspaces/"+id+"/secrets/MODEL", ""), 400, admission.CodeMalformedRequest)
	}
	require.Empty(t, store.noted())
}

func TestWorkspacePutRefusesMalformedWorkspaces(t *testing.T) {
	s, store := serveStore(t)
	for _, body := range []string{
		`null`, `[]`, `{"nmae": "a"}`, `{"Name": "a"}`, `{"name": "a", "name": "b"}`, `{} {}`, `{"name": 1}`, `{"tier": "1"}`, `{"tier": 1.5}`,
		`{"kind": "Platform"}`, `{"kind": "agent"}`, `{"kind": ""}`, `{"kind": null}`, `{"status": "Online"}`, `{"status": ""}`, `{"status": "gone"}`,
		`{"secrets": ["MODEL"]}`, `{"name": "a\u0000"}`,
	} {
		got := s.send(http.MethodPut, workspacePath, body)
		require.Equal(t, 400, got.status, body)
		requireProblem(t, got, 400, admission.CodeMalformedRequest)
	}
	requireProblem(t, s.send(http.MethodPut, workspacePath, `{}`, "Content-Type", "text/plain"), 415, admission.CodeUnsupportedMediaType)
	require.Empty(t, store.noted())
}

func TestWorkspacePutTakesEveryStatus(t *testing.T) {
	s, _ := serveStore(t)
	for _, status := range []string{
		`"provisioning"`, `"online"`, `"offline"`, `"degraded"`, `"failed"`, `"removed"`, `"paused"`, `"hibernated"`, `"awaiting_agent"`, `null`,
	} {
		require.Equal(t, 204, s.send(http.MethodPut, workspacePath, `{"status": `+status+`}`).status, status)
	}
}

func TestSecretKeysAreStoredUnchanged(t *testing.T) {
	s, store := serveStore(t)
	for escaped, key := range map[string]string{
		"MODEL": "MODEL", "A%2FB": "A/B", "MODEL%20": "MODEL ", "%E2%82%AC": "€", "100%25": "100%", "MODE%254C": "MODE%4C",
		"%252F%2F": "%2F/", "a+b": "a+b", "..": "..", "%2E%2E": "..", "a;b": "a;b", "%3Fa=b": "?a=b",
		strings.Repeat("k", 255): strings.Repeat("k", 255),
	} {
		require.Equal(t, 204, s.send(http.MethodPut, workspacePath+"/secrets/"+escaped, "").status, escaped)
		require.Equal(t, 204, s.send(http.MethodDelete, workspacePath+"/secrets/"+escaped, "").status, escaped)
		calls := store.noted()
		require.Equal(t, []string{"put " + workspaceID + " " + key, "delete " + workspaceID + " " + key}, calls[len(calls)-2:], escaped)
	}
}

func TestSecretKeysMayBeAnyText(t *testing.T) {
	s, store := serveStore(t)
	rapid.Check(t, func(rt *rapid.T) {
		key := rapid.StringN(1, 60, 255).Filter(func(text string) bool { return !strings.Contains(text, "\x00") }).Draw(rt, "key")
		got := s.send(http.MethodPut, workspacePath+"/secrets/"+url.PathEscape(key), "")
		require.Equal(t, 204, got.status, got.body)
		calls := store.noted()
		require.Equal(t, "put "+workspaceID+" "+key, calls[len(calls)-1])
	})
}

func TestSecretKeysMustBeText(t *testing.T) {
	s, store := serveStore(t)
	for _, escaped := range []string{"%00", "MODEL%00", "%FF", "%FF%2F", "%C3%28", "%ED%A0%80", strings.Repeat("k", 256), strings.Repeat("%2F", 256)} {
		requireProblem(t, s.send(http.MethodPut, workspacePath+"/secrets/"+escaped, ""), 400, admission.CodeMalformedRequest)
		requireProblem(t, s.send(http.MethodDelete, workspacePath+"/secrets/"+escaped, ""), 400, admission.CodeMalformedRequest)
	}
	require.GreaterOrEqual(t, s.send(http.MethodPut, workspacePath+"/secrets/", "").status, 400)
	require.Empty(t, store.noted())
}

func TestSecretKeysRefuseValues(t *testing.T) {
	s, store := serveStore(t)
	for _, body := range []string{`{"value": "sk-planted"}`, `{}`, `"sk-planted"`} {
		got := s.send(http.MethodPut, workspacePath+"/secrets/MODEL", body)
		requireProblem(t, got, 400, admission.CodeMalformedRequest)
		require.NotContains(t, got.body, "sk-planted")
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.URL+workspacePath+"/secrets/MODEL", http.MaxBytesReader(nil, http.NoBody, 1))
	require.NoError(t, err)
	require.Equal(t, 400, s.do(request).status, "a body of unknown length")
	require.Empty(t, store.noted())
	require.NotContains(t, s.log.String(), "sk-planted")
}

func TestSecretKeysOfAnUnknownWorkspace(t *testing.T) {
	s, _ := serveStore(t)
	stranger := "/v1/workspaces/00000000-0000-4000-8000-000000000009/secrets/MODEL"
	requireProblem(t, s.send(http.MethodPut, stranger, ""), 404, admission.CodeNotFound)
	require.Equal(t, 204, s.send(http.MethodDelete, stranger, "").status)
}

func TestWorkspaceRoutesAnswerStoreErrors(t *testing.T) {
	s, store := serveStore(t)
	store.fail = errHidden
	for _, request := range []struct{ method, path, body string }{
		{http.MethodPut, workspacePath, `{}`}, {http.MethodDelete, workspacePath, ""},
		{http.MethodPut, workspacePath + "/secrets/MODEL", ""}, {http.MethodDelete, workspacePath + "/secrets/MODEL", ""},
	} {
		got := s.send(request.method, request.path, request.body)
		requireProblem(t, got, 500, admission.CodeRecordFailed)
		require.NotContains(t, got.body, "hunter2")
	}
	store.fail = admission.Malformed("cannot be stored like this")
	require.Equal(t, "cannot be stored like this", requireProblem(t, s.send(http.MethodPut, workspacePath, `{}`), 400, admission.CodeMalformedRequest))
}

func TestWorkspaceRoutesAreOffOnTheRegistrysDatabase(t *testing.T) {
	s := serve(t, func(o *httpapi.Options) { o.Workspaces, o.SecretKeys = nil, nil })
	for _, path := range []string{workspacePath, workspacePath + "/secrets/MODEL", "/v1/workspaces/x"} {
		for _, method := range []string{http.MethodPut, http.MethodDelete} {
			requireProblem(t, s.send(method, path, ""), 403, admission.CodeForbidden)
		}
	}
}
