package main

import (
	"net/http"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Live decisions are made again by OPA, and what came of it is counted. The fast path stays on where the two agree.
func TestServeVerifiesLiveDecisions(t *testing.T) {
	s := serveHere(t, "--demo", "--verify-share", "1", "--database-url", "sqlite:"+filepath.Join(t.TempDir(), "gatehouse.db"))
	s.waitReady()
	for n := range 4 {
		s.register(n + 1)
	}
	same := regexp.MustCompile(`gatehouse_policy_verifications_total\{result="same"\} [1-4]\n`)
	require.Eventually(t, func() bool { return same.MatchString(s.scrape()) }, patience, 10*time.Millisecond)
	require.Contains(t, s.scrape(), "\ngatehouse_policy_disagreements_total 0\n")
	require.Contains(t, s.scrape(), "\ngatehouse_policy_fast_path 1\n")
	_, body := s.send(http.MethodGet, "/v1/policies", "", "")
	require.Contains(t, body, `"evaluator":"fast-path","disagreement":null`)
	require.Zero(t, s.stop())
}

// With --evaluator opa the fast path decides nothing, so that there is nothing to verify.
func TestServeByOPAAlone(t *testing.T) {
	s := serveHere(t, "--demo", "--evaluator", "opa", "--verify-share", "1", "--database-url", "sqlite:"+filepath.Join(t.TempDir(), "gatehouse.db"))
	s.waitReady()
	require.False(t, s.register(2).Allowed)
	require.True(t, s.register(1).Allowed)
	require.Contains(t, s.scrape(), "\ngatehouse_policy_fast_path 0\n")
	require.NotRegexp(t, `gatehouse_policy_verifications_total.* [1-9]`, s.scrape())
	_, body := s.send(http.MethodGet, "/v1/policies", "", "")
	require.Contains(t, body, `"evaluator":"opa","disagreement":null`)
	require.Zero(t, s.stop())
}

func TestVerifyShareIsAShare(t *testing.T) {
	for _, share := range []float64{-0.1, 1.1} {
		require.ErrorContains(t, evaluatorFlags{VerifyShare: share}.check(), "--verify-share must be from 0 to 1")
	}
}
