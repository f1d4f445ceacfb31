package httpapi_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi"
	"github.com/molecule-ai/gatehouse/server/httpapi/auth"
)

// Probes and proxies use HEAD. Every route with GET answers HEAD with the same status and headers. A stream ends after its
// headers.
func TestHeadAnswersAsGetWithoutABody(t *testing.T) {
	s := full(t, func(o *httpapi.Options) {
		o.Authenticator.Use([]auth.Token{token(t, "ada", auth.RoleAuthor, authorToken)})
	})
	c := contractOf(t, s)
	bearer := []string{"Authorization", "Bearer " + authorToken}
	fill := strings.NewReplacer("/v1/replays/{id}", s.replayOf(authorToken), "{id}", decisionID)
	paths, _ := c.object("/paths")
	asked := 0
	for path := range paths {
		item, _ := c.object("/paths/" + escaped(path))
		if item["get"] == nil {
			requireMethodRefused(t, s, fill.Replace(path), bearer)
			continue
		}
		asked++
		got := s.send(http.MethodGet, fill.Replace(path), "", bearer...)
		head := s.send(http.MethodHead, fill.Replace(path), "", bearer...)
		require.Equal(t, got.status, head.status, path)
		require.Less(t, head.status, 500, path)
		require.Empty(t, head.body, path)
		for _, name := range []string{"Content-Type", "Cache-Control"} {
			require.Equal(t, got.header.Get(name), head.header.Get(name), path)
		}
	}
	require.Greater(t, asked, 15)
	require.Equal(t, 401, s.send(http.MethodHead, "/v1/policies", "").status)
	require.Equal(t, 404, s.send(http.MethodHead, "/nowhere", "").status)
}

func requireMethodRefused(t *testing.T, s *service, path string, headers []string) {
	t.Helper()
	head := s.send(http.MethodHead, path, "", headers...)
	require.Equal(t, 405, head.status, path)
	require.NotContains(t, head.header.Get("Allow"), "HEAD", path)
}

// hooks are those that the gate was asked of.
func hooks(t *testing.T, into *[]string) *service {
	t.Helper()
	return serve(t, func(o *httpapi.Options) {
		o.Reviewer = reviewer(func(ctx context.Context, r admission.Review) (admission.Decision, error) {
			*into = append(*into, r.Hook)
			return allow(ctx, r)
		})
		o.Authenticator.Use([]auth.Token{token(t, "eu", auth.RoleRegistry, registryToken)})
	})
}

// A client may escape any character of a path. It is the same route and hook, and the same roles may use it.
func TestPathsMayBeEscaped(t *testing.T) {
	var asked []string
	s := hooks(t, &asked)
	bearer := []string{"Authorization", "Bearer " + registryToken}
	for _, path := range []string{
		"/v1/admission/register", "/v1/admission/%72egister", "/v1/%61dmission/re%67ister", "/%761/admission/registe%72",
	} {
		require.Equal(t, 200, s.send(http.MethodPost, path, registerBody, bearer...).status, path)
		require.Equal(t, 401, s.send(http.MethodPost, path, registerBody).status, path)
	}
	require.Equal(t, []string{"register", "register", "register", "register"}, asked)
	require.Equal(t, 200, s.send(http.MethodPost, "/v1/admission/%72egister/%62atch", `{"reviews": [`+registerBody+`]}`, bearer...).status)
	require.Equal(t, 200, s.send(http.MethodGet, "/%68ealthz", "").status)
	requireProblem(t, s.send(http.MethodGet, "/v1/admission/%72egister", "", bearer...), 405, admission.CodeMethodNotAllowed)
}

// An escaped slash, dot or percent sign is a part of a name and never leads to another route.
func TestEscapedSlashIsNoSeparator(t *testing.T) {
	var asked []string
	s := hooks(t, &asked)
	bearer := []string{"Authorization", "Bearer " + registryToken}
	for path, hook := range map[string]string{
		"/v1/admission/register%2Fbatch": "register/batch", "/v1/admission/register%2fbatch": "register/batch",
		"/v1/admission/%2E%2E": "..", "/v1/admission/%2572egister": "%72egister", "/v1/admission/a%3Fb": "a?b",
	} {
		asked = nil
		require.Equal(t, 200, s.send(http.MethodPost, path, registerBody, bearer...).status, path)
		require.Equal(t, []string{hook}, asked)
	}
	asked = nil
	for _, path := range []string{"/v1%2Fadmission/register", "/v1/admission%2Fregister", "/healthz%2F..%2Fv1%2Fadmission%2Fregister", "/v1/admission/..%2F..%2Fhealthz/x"} {
		requireProblem(t, s.send(http.MethodPost, path, registerBody, bearer...), 404, admission.CodeNotFound)
	}
	for _, path := range []string{"/v1/admission/%FF", "/v1/admission/a%00"} {
		requireProblem(t, s.send(http.MethodPost, path, registerBody, bearer...), 404, admission.CodeUnknownHook)
	}
	require.Empty(t, asked)
}
