package httpapi_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi"
	"github.com/molecule-ai/gatehouse/server/httpapi/auth"
)

const (
	registryToken = "registry-token-0123456789"
	authorToken   = "author-token-0123456789"
	viewerToken   = "viewer-token-0123456789"
)

func token(t testing.TB, name string, role auth.Role, plain string) auth.Token {
	t.Helper()
	made, err := auth.NewToken(name, role, plain)
	require.NoError(t, err)
	return made
}

func guarded(t *testing.T) *service {
	t.Helper()
	return serve(t, func(o *httpapi.Options) {
		o.Authenticator.Use([]auth.Token{
			token(t, "eu", auth.RoleRegistry, registryToken),
			token(t, "ada", auth.RoleAuthor, authorToken),
			token(t, "vic", auth.RoleViewer, viewerToken),
		})
	})
}

var routes = []struct {
	method, path, body string
	roles              string
}{
	{http.MethodPost, "/v1/admission/register", registerBody, "registry"},
	{http.MethodPost, "/v1/admission/register/batch", `{"reviews": [` + registerBody + `]}`, "registry"},
	{http.MethodPost, "/registry/register", payload, "registry"},
	{http.MethodPut, "/v1/workspaces/" + workspaceID, `{"name": "a"}`, "registry"},
	{http.MethodDelete, "/v1/workspaces/" + workspaceID, "", "registry"},
	{http.MethodPut, "/v1/workspaces/" + workspaceID + "/secrets/MODEL", "", "registry"},
	{http.MethodDelete, "/v1/workspaces/" + workspaceID + "/secrets/MODEL", "", "registry"},
	{http.MethodGet, "/v1/policies", "", "registry author viewer"},
	{http.MethodGet, "/healthz", "", "anybody"},
	{http.MethodGet, "/readyz", "", "anybody"},
	{http.MethodGet, "/metrics", "", "anybody"},
}

func TestRolesOfEveryRoute(t *testing.T) {
	s := guarded(t)
	callers := map[string]string{"registry": registryToken, "author": authorToken, "viewer": viewerToken}
	for _, route := range routes {
		for role, plain := range callers {
			got := s.send(route.method, route.path, route.body, "Authorization", "Bearer "+plain)
			if route.roles == "anybody" || strings.Contains(route.roles, role) {
				require.Less(t, got.status, 300, "%s %s as %s", route.method, route.path, role)
			} else {
				require.Equal(t, 403, got.status, "%s %s as %s", route.method, route.path, role)
			}
		}
		got := s.send(route.method, route.path, route.body)
		if route.roles == "anybody" {
			require.Equal(t, 200, got.status, "%s %s", route.method, route.path)
			continue
		}
		require.Equal(t, 401, got.status, "%s %s", route.method, route.path)
		require.Equal(t, `Bearer realm="gatehouse"`, got.header.Get("WWW-Authenticate"))
	}
}

func TestAuthenticationIsOffWithoutTokens(t *testing.T) {
	s := serve(t, nil)
	for _, route := range routes {
		require.Less(t, s.send(route.method, route.path, route.body).status, 300, "%s %s", route.method, route.path)
	}
}

func TestAuthenticationTakesOnlyKnownBearerTokens(t *testing.T) {
	s := guarded(t)
	for _, header := range []string{
		"", "Bearer", "Bearer ", "Bearer wrong-token-0123456789", registryToken, "Basic " + registryToken, "Token " + registryToken,
		"Bearer " + registryToken + "x", "Bearer " + registryToken[1:], "Bearer " + registryToken + " x",
		"Bearer " + strings.ToUpper(registryToken), "Bearer " + hashOf(registryToken),
	} {
		got := s.register(registerBody, "Authorization", header)
		requireProblem(t, got, 401, admission.CodeUnauthenticated)
		relayed := s.relay(payload, "Authorization", header)
		require.Equal(t, 401, relayed.status)
		require.JSONEq(t, `{"error":"a known bearer token is required","code":"unauthenticated"}`, relayed.body)
		require.NotEmpty(t, relayed.header.Get("WWW-Authenticate"))
	}
	require.Equal(t, 200, s.register(registerBody, "Authorization", "bearer "+registryToken).status)
	requireProblem(t, s.register(registerBody, "Authorization", "Bearer "+viewerToken), 403, admission.CodeForbidden)
	require.Equal(t, 403, s.relay(payload, "Authorization", "Bearer "+viewerToken).status)
	require.NotContains(t, s.log.String(), "token-0123456789")
}

func TestTokensAreReplacedWhileRequestsRun(t *testing.T) {
	authenticator := &auth.Authenticator{}
	sets := [][]auth.Token{
		{token(t, "eu", auth.RoleRegistry, registryToken)},
		{token(t, "eu", auth.RoleRegistry, registryToken), token(t, "ada", auth.RoleAuthor, authorToken)},
	}
	authenticator.Use(sets[0])
	s := serve(t, func(o *httpapi.Options) { o.Authenticator = authenticator })
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 50 {
				got, err := s.attempt(http.MethodPost, "/v1/admission/register", registerBody, "Authorization", "Bearer "+registryToken)
				if err != nil || got.status != 200 {
					t.Errorf("a known caller was refused: %s %v", got.body, err)
				}
				got, err = s.attempt(http.MethodPost, "/v1/admission/register", registerBody)
				if err != nil || got.status != 401 {
					t.Errorf("an unknown caller was let in: %s %v", got.body, err)
				}
			}
		})
	}
	for i := range 200 {
		authenticator.Use(sets[i%2])
	}
	group.Wait()
	authenticator.Use(sets[1][1:])
	require.Equal(t, 401, s.register(registerBody, "Authorization", "Bearer "+registryToken).status, "a token that is gone")
}

func hashOf(plain string) string {
	sum := sha256.Sum256([]byte(plain))
	return hex.EncodeToString(sum[:])
}

func TestTokensFile(t *testing.T) {
	text := fmt.Sprintf("tokens:\n  - {name: eu, role: registry, sha256: %s}\n  - {name: ada, role: author, sha256: %s}\n",
		hashOf(registryToken), strings.ToUpper(hashOf(authorToken)))
	tokens, err := auth.ParseTokens("tokens.yaml", []byte(text))
	require.NoError(t, err)
	require.Equal(t, []auth.Token{
		token(t, "eu", auth.RoleRegistry, registryToken), token(t, "ada", auth.RoleAuthor, authorToken),
	}, tokens)
}

func TestTokensFileErrorsRepeatNoHash(t *testing.T) {
	hash := hashOf(registryToken)
	entry := func(members string) string { return "tokens:\n  - {" + members + "}\n" }
	for name, text := range map[string]string{
		"empty":              "",
		"no tokens":          "tokens: []",
		"not YAML":           "tokens: [" + hash,
		"a list":             "- {name: eu, role: registry, sha256: " + hash + "}",
		"unknown key":        entry("name: eu, role: registry, sha256: " + hash + ", scope: all"),
		"unknown key above":  entry("name: eu, role: registry, sha256: "+hash) + "token: " + hash + "\n",
		"other case":         entry("Name: eu, role: registry, sha256: " + hash),
		"duplicate key":      entry("name: eu, role: viewer, role: registry, sha256: " + hash),
		"duplicate list":     entry("name: eu, role: registry, sha256: "+hash) + "tokens: []\n",
		"bad role":           entry("name: eu, role: admin, sha256: " + hash),
		"no role":            entry("name: eu, sha256: " + hash),
		"no name":            entry("role: registry, sha256: " + hash),
		"no hash":            entry("name: eu, role: registry"),
		"short hash":         entry("name: eu, role: registry, sha256: " + hash[2:]),
		"long hash":          entry("name: eu, role: registry, sha256: " + hash + "00"),
		"plain token":        entry("name: eu, role: registry, sha256: " + registryToken),
		"hash of nothing":    entry("name: eu, role: registry, sha256: " + hashOf("")),
		"two documents":      entry("name: eu, role: registry, sha256: "+hash) + "---\ntokens: []\n",
		"hash of a list":     entry("name: eu, role: registry, sha256: [" + hash + "]"),
		"tab":                "tokens:\n\t- {name: eu, role: registry, sha256: " + hash + "}\n",
		"hash that is a map": entry("name: eu, role: registry, sha256: {" + hash + ": 1}"),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := auth.ParseTokens("tokens.yaml", []byte(text))
			require.Regexp(t, `^tokens\.yaml:\d+:\d+: `, err.Error())
			require.NotContains(t, err.Error(), hash[2:10])
			require.NotContains(t, err.Error(), registryToken)
		})
	}
}

func TestNewTokenRefusesShortTokens(t *testing.T) {
	_, err := auth.NewToken("registry", auth.RoleRegistry, "hunter2")
	require.ErrorContains(t, err, "16")
	require.NotContains(t, err.Error(), "hunter2")
	_, err = auth.NewToken("registry", auth.RoleRegistry, strings.Repeat("x", auth.MinTokenLength))
	require.NoError(t, err)
}
