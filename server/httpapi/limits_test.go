package httpapi_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi"
	"github.com/molecule-ai/gatehouse/server/httpapi/auth"
)

func TestInFlightLimitRefusesRequests(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s := serve(t, func(o *httpapi.Options) {
		o.MaxInFlight = 1
		o.Reviewer = reviewer(func(ctx context.Context, r admission.Review) (admission.Decision, error) {
			entered <- struct{}{}
			<-release
			return allow(ctx, r)
		})
	})
	first := make(chan int)
	go func() {
		got, _ := s.attempt(http.MethodPost, "/v1/admission/register", registerBody) // an error has no status
		first <- got.status
	}()
	<-entered

	got := s.register(registerBody)
	requireProblem(t, got, 503, admission.CodeOverloaded)
	require.Equal(t, "1", got.header.Get("Retry-After"))
	require.Equal(t, 503, s.batch(registerBody).status)
	require.Equal(t, 503, s.send(http.MethodDelete, "/v1/workspaces/"+workspaceID, "").status)
	relayed := s.relay(payload)
	require.Equal(t, 500, relayed.status)
	require.JSONEq(t, `{"error":"registration failed"}`, relayed.body)
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/v1/policies"} {
		require.Equal(t, 200, s.send(http.MethodGet, path, "").status, path)
	}

	close(release)
	require.Equal(t, 200, <-first)
	go func() { <-entered }()
	require.Equal(t, 200, s.register(registerBody).status)
}

func TestRateLimitHoldsForAllRoutes(t *testing.T) {
	for range 10 { // one that takes longer than the window of a second proves nothing
		s := serve(t, func(o *httpapi.Options) {
			o.RateLimit = 1
			o.Authenticator.Use([]auth.Token{
				token(t, "eu", auth.RoleRegistry, registryToken), token(t, "us", auth.RoleRegistry, authorToken),
			})
		})
		start := time.Now()
		require.Equal(t, 200, s.register(registerBody, "Authorization", "Bearer "+registryToken).status)
		again := s.register(registerBody, "Authorization", "Bearer "+registryToken)
		relayed := s.relay(payload, "Authorization", "Bearer "+registryToken)
		other := s.register(registerBody, "Authorization", "Bearer "+authorToken)
		if time.Since(start) > time.Second {
			continue
		}
		requireProblem(t, again, 429, admission.CodeRateLimited)
		require.Equal(t, "1", again.header.Get("Retry-After"))
		require.Equal(t, 429, relayed.status)
		require.Contains(t, relayed.body, `"code":"rate_limited"`)
		require.Equal(t, 200, other.status, "another caller has a rate of its own")
		return
	}
	t.Fatal("four requests never came within a second")
}
