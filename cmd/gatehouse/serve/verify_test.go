package serve_test

import (
	"net/http"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/programtest"
)

// Live decisions are made again by OPA, and what came of it is counted. The fast path stays on where the two agree.
func TestServeVerifiesLiveDecisions(t *testing.T) {
	t.Parallel()
	s := programtest.Serve(t, "--demo", "--verify-share", "1", "--database-url", "sqlite:"+filepath.Join(t.TempDir(), "gatehouse.db"))
	s.WaitReady()
	for n := range 4 {
		s.Register(n + 1)
	}
	same := regexp.MustCompile(`gatehouse_policy_verifications_total\{result="same"\} [1-4]\n`)
	require.Eventually(t, func() bool { return same.MatchString(s.Scrape()) }, cmdtest.Patience, 10*time.Millisecond)
	require.Contains(t, s.Scrape(), "\ngatehouse_policy_disagreements_total 0\n")
	require.Contains(t, s.Scrape(), "\ngatehouse_policy_fast_path 1\n")
	_, body := s.Send(http.MethodGet, "/v1/policies", "", "")
	require.Contains(t, body, `"evaluator":"fast-path","disagreement":null`)
	require.Zero(t, s.Stop())
}

// With --evaluator opa the fast path decides nothing, so that there is nothing to verify.
func TestServeByOPAAlone(t *testing.T) {
	t.Parallel()
	s := programtest.Serve(t, "--demo", "--evaluator", "opa", "--verify-share", "1", "--database-url", "sqlite:"+filepath.Join(t.TempDir(), "gatehouse.db"))
	s.WaitReady()
	require.False(t, s.Register(2).Allowed)
	require.True(t, s.Register(1).Allowed)
	require.Contains(t, s.Scrape(), "\ngatehouse_policy_fast_path 0\n")
	require.NotRegexp(t, `gatehouse_policy_verifications_total.* [1-9]`, s.Scrape())
	_, body := s.Send(http.MethodGet, "/v1/policies", "", "")
	require.Contains(t, body, `"evaluator":"opa","disagreement":null`)
	require.Zero(t, s.Stop())
}
