package main

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi"
)

const identityGateCode = "PLATFORM_AGENT_IDENTITY_GATE"

// candidateFolder is a folder with the embedded policies in which codes are enforced as given, in YAML. It may weaken the
// platform agent's rule.
func candidateFolder(t *testing.T, enforcement string) string {
	t.Helper()
	folder := policyFolder(t)
	data, err := os.ReadFile(filepath.Join(folder, "data.yaml"))
	require.NoError(t, err)
	changed := strings.Replace(string(data), "\nenforcement: {}", "\nallow_weaker: ["+identityGateCode+"]\nenforcement: "+enforcement, 1)
	require.NotEqual(t, string(data), changed)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "data.yaml"), []byte(changed), 0o600))
	return folder
}

type registered struct {
	Allowed        bool     `json:"allowed"`
	DryRun         bool     `json:"dry_run"`
	Marked         bool     `json:"marked_failed"`
	Warnings       []string `json:"warnings"`
	PolicyRevision string   `json:"policy_revision"`
	DecisionID     string   `json:"decision_id"`
}

// register asks for a demo workspace.
func (s *served) register(n int, members ...string) registered {
	s.t.Helper()
	status, body := s.send(http.MethodPost, "/v1/admission/register", fmt.Sprintf(
		`{"workspace": {"id": "00000000-0000-4000-8000-%012d", "url": "https://agent.example.com"}%s}`, n, strings.Join(members, "")), "")
	require.Equal(s.t, 200, status, body)
	var got registered
	require.NoError(s.t, json.Unmarshal([]byte(body), &got))
	return got
}

// shadowed waits until the shadow is as wanted.
func (s *served) shadowed(wanted func(httpapi.ShadowStatus) bool) httpapi.ShadowStatus {
	s.t.Helper()
	var status httpapi.ShadowStatus
	var body string
	require.Eventually(s.t, func() bool {
		var code int
		code, body = s.send(http.MethodGet, "/v1/policies/shadow", "", "")
		status = httpapi.ShadowStatus{}
		return code == http.StatusOK && json.Unmarshal([]byte(body), &status) == nil && wanted(status)
	}, patience, 10*time.Millisecond, "%s", &body)
	return status
}

func hasCandidate(status httpapi.ShadowStatus) bool { return status.Candidate != nil }

// query reads one row of an SQLite file that no server has open.
func query(t *testing.T, path, statement string, into ...any) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	require.NoError(t, db.QueryRowContext(t.Context(), statement).Scan(into...))
}

func TestADryServerEnforcesNothingAndTellsOfEverything(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	s := serveHere(t, "--demo", "--dry-run", "--database-url", "sqlite:"+path)
	s.waitReady()
	const uid = `, "uid": "req-1"`
	for range 2 {
		got := s.register(2, uid)
		require.True(t, got.Allowed)
		require.True(t, got.DryRun)
		require.False(t, got.Marked)
		require.Contains(t, got.Warnings, "The platform agent has no MODEL secret of its own.")
	}
	require.True(t, s.register(1).Allowed)
	require.False(t, s.register(2, `, "dry_run": true`).Allowed, "a review's own dry run hears the verdict")
	status, body := s.send(http.MethodPost, "/registry/register", `{"id": "00000000-0000-4000-8000-000000000002", "url": "https://agent.example.com"}`, "")
	require.Equal(t, 200, status, body)
	_, body = s.send(http.MethodGet, "/v1/policies", "", "")
	require.Contains(t, body, `"dry_run":true`)
	_, text := s.send(http.MethodGet, "/metrics", "", "")
	requirePromtool(t, text)
	require.Contains(t, text, "\ngatehouse_dry_run 1\n")
	require.Contains(t, text, `gatehouse_admission_decisions_total{code="PLATFORM_AGENT_IDENTITY_GATE",decision="dry_run",hook="register",kind="platform"} 4`+"\n")
	require.Contains(t, text, `gatehouse_decision_records_total{result="recorded"} 4`+"\n")
	require.NotRegexp(t, `decision="deny".* [1-9]`, text)
	require.Zero(t, s.stop())
	require.Contains(t, s.log.String(), "DRY RUN: nothing is enforced")
	require.Contains(t, s.log.String(), `"dry_run":true,`)

	var dry, denied, events int
	var workspace string
	query(t, path, `select count(*), sum(not allowed) from decisions where dry_run = 1 and (allowed or code = 'PLATFORM_AGENT_IDENTITY_GATE')`, &dry, &denied)
	query(t, path, `select (select count(*) from events), (select status from workspaces where id like '%0002')`, &events, &workspace)
	require.Equal(t, 4, dry)
	require.Equal(t, 3, denied, "the record has the true verdict")
	require.Zero(t, events)
	require.NotEqual(t, "failed", workspace)

	s = serveHere(t, "--database-url", "sqlite:"+path)
	s.waitReady()
	got := s.register(2, uid)
	require.False(t, got.Allowed, "what was let in by the dry run is decided anew")
	require.False(t, got.DryRun)
	require.True(t, got.Marked)
	_, text = s.send(http.MethodGet, "/metrics", "", "")
	require.Contains(t, text, "\ngatehouse_dry_run 0\n")
}

func TestACandidateIsWatchedComparedAndPromoted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	s := serveHere(t, "--demo", "--database-url", "sqlite:"+path, "--shadow-policies", candidateFolder(t, "{"+identityGateCode+": audit}"))
	s.waitReady()
	candidate := s.shadowed(hasCandidate).Candidate.Revision
	live := s.register(1).PolicyRevision
	require.NotEqual(t, live, candidate)
	denied := s.register(2)
	require.False(t, denied.Allowed, "a candidate decides nothing")

	status := s.shadowed(func(status httpapi.ShadowStatus) bool {
		return status.Summary.Evaluated == 2 && len(status.Summary.Flips) == 1
	})
	require.Equal(t, admission.ShadowPair{Live: live, Candidate: candidate}, status.Summary.ShadowPair)
	require.Equal(t, admission.ShadowCounts{Evaluated: 2, Diverged: 1}, status.Summary.ShadowCounts)
	flip := status.Summary.Flips[0]
	require.Equal(t, admission.DenyToAllow, flip.Kind)
	require.Equal(t, "platform_requires_model", flip.Rule)
	require.Equal(t, denied.DecisionID, flip.Examples[0].DecisionID.String())
	require.Equal(t, admission.Deny, flip.Examples[0].Live.Violations[0].Enforcement)
	require.Equal(t, admission.Audit, flip.Examples[0].Candidate.Violations[0].Enforcement)
	require.Equal(t, admission.Deny, flip.Examples[0].Candidate.Violations[0].Declared)
	_, text := s.send(http.MethodGet, "/metrics", "", "")
	requirePromtool(t, text)
	require.Contains(t, text, `gatehouse_policy_shadow_divergences_total{code="PLATFORM_AGENT_IDENTITY_GATE",kind="deny_to_allow"} 1`+"\n")

	diff := command(t, "", "policies", "diff", "--database-url", "sqlite:"+path)
	require.Zero(t, diff.code, diff.err)
	for _, part := range []string{
		"candidate " + candidate + " beside " + live, "2 evaluated, 1 diverged, 0 failed; 0 dropped", "deny_to_allow  PLATFORM_AGENT_IDENTITY_GATE",
		"decision " + denied.DecisionID + " of workspace 00000000-0000-4000-8000-000000000002, register",
		"live:      deny  deny PLATFORM_AGENT_IDENTITY_GATE/model_missing\n",
		"candidate: allow  audit PLATFORM_AGENT_IDENTITY_GATE/model_missing (the rule says deny)\n",
	} {
		require.Contains(t, diff.out, part)
	}
	diff = command(t, "", "policies", "diff", "--output=json", "--database-url", "sqlite:"+path, "--live", live, "--candidate", candidate)
	var summary admission.ShadowSummary
	require.NoError(t, json.Unmarshal([]byte(diff.out), &summary))
	require.Equal(t, *status.Summary, summary)

	refused := command(t, "", "policies", "promote", "--url", s.url, "--revision", "sha256:0000")
	require.Equal(t, exitFailed, refused.code)
	require.Contains(t, refused.err, "candidate_changed: the candidate is "+candidate)
	promoted := command(t, "", "policies", "promote", "--url", s.url+"/", "--revision", candidate)
	require.Zero(t, promoted.code, promoted.err)
	require.Contains(t, promoted.out, candidate+" is live in place of "+live)
	after := s.register(2)
	require.True(t, after.Allowed)
	require.Equal(t, candidate, after.PolicyRevision)
	s.shadowed(func(status httpapi.ShadowStatus) bool { return status.Candidate == nil && status.Summary == nil })
	refused = command(t, "", "policies", "promote", "--url", s.url)
	require.Equal(t, exitFailed, refused.code)
	require.Contains(t, refused.err, "no_candidate: ")
	require.Zero(t, s.stop())
	require.Contains(t, s.log.String(), "the candidate policies were promoted and are live")
}

func TestABadCandidateHurtsNobody(t *testing.T) {
	s := serveHere(t, "--demo", "--database-url", "sqlite:"+filepath.Join(t.TempDir(), "gatehouse.db"),
		"--shadow-policies", policyFolder(t, "broken.rego", "package a\n\nb if c(1)"))
	s.waitReady()
	status := s.shadowed(func(status httpapi.ShadowStatus) bool { return status.Refused != nil })
	require.Contains(t, status.Refused.Reason, "broken.rego:3:")
	require.Nil(t, status.Candidate)
	require.True(t, s.register(1).Allowed)
}

func TestPromotingAndComparingNeedSomethingToTalkTo(t *testing.T) {
	got := command(t, "", "policies", "promote", "--url", "http://127.0.0.1:1")
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.err, "http://127.0.0.1:1: ")
	got = command(t, "", "policies", "diff", "--live", "x")
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.err, "--live and --candidate go together")
}

// Promoted under load, the candidate decides from one request to the next: none fails, and each verdict is that of
// the revision that it names.
func TestAPromotionUnderLoadFailsNoRequestAndMixesNothing(t *testing.T) {
	const clients, each = 6, 25
	s := serveHere(t, "--demo", "--database-url", "sqlite:"+filepath.Join(t.TempDir(), "gatehouse.db"),
		"--shadow-policies", candidateFolder(t, "{"+identityGateCode+": warn}"))
	s.waitReady()
	candidate := s.shadowed(hasCandidate).Candidate.Revision
	live := s.register(1).PolicyRevision

	var promoted atomic.Bool
	var wrong atomic.Pointer[string]
	var before, after, running sync.WaitGroup
	before.Add(clients)
	after.Add(clients)
	stop := make(chan struct{})
	for range clients {
		running.Go(func() {
			early, late := 0, 0
			for {
				select {
				case <-stop:
					return
				default:
				}
				since := promoted.Load()
				problem := s.decideOnce(live, candidate, since)
				if problem != "" {
					wrong.CompareAndSwap(nil, &problem)
				}
				if since {
					late++
				} else {
					early++
				}
				if !since && early == each {
					before.Done()
				}
				if late == each {
					after.Done()
				}
			}
		})
	}
	before.Wait()
	status, body := s.send(http.MethodPost, "/v1/policies/promote", "", "")
	promoted.Store(true)
	after.Wait()
	close(stop)
	running.Wait()
	require.Equal(t, 200, status, body)
	require.Nil(t, wrong.Load(), "%v", wrong.Load())
}

// decideOnce says what is wrong with one answer, "" if nothing is.
func (s *served) decideOnce(live, candidate string, promoted bool) string {
	response, err := http.Post(s.url+"/v1/admission/register", "application/json",
		strings.NewReader(`{"workspace": {"id": "00000000-0000-4000-8000-000000000002", "url": "https://agent.example.com"}}`))
	if err != nil {
		return err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	var got registered
	err = json.NewDecoder(response.Body).Decode(&got)
	switch {
	case err != nil || response.StatusCode != http.StatusOK:
		return fmt.Sprintf("%d, %v", response.StatusCode, err)
	case got.PolicyRevision == live && !got.Allowed && !promoted, got.PolicyRevision == candidate && got.Allowed:
		return ""
	default:
		return fmt.Sprintf("%+v, promoted: %t", got, promoted)
	}
}

func TestACandidateIsComparedOnPostgres(t *testing.T) {
	database := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	s := serveHere(t, "--database-url", database, "--shadow-policies", candidateFolder(t, "{URL_UNSAFE: warn}"))
	s.waitReady()
	s.shadowed(hasCandidate)
	status, body := s.send(http.MethodPost, "/v1/admission/register", `{"workspace": {"id": "01890a5d-ac96-774b-bcce-b302099a8057", "url": "http://169.254.169.254/"}}`, "")
	require.Equal(t, 200, status, body)
	s.shadowed(func(status httpapi.ShadowStatus) bool {
		return status.Summary.Diverged == 1 && len(status.Summary.Flips) == 1
	})
	diff := command(t, "", "policies", "diff", "--database-url", database)
	require.Zero(t, diff.code, diff.err)
	require.Contains(t, diff.out, "1 evaluated, 1 diverged, 0 failed; 0 dropped")
	require.Contains(t, diff.out, "warn URL_UNSAFE/")
}

func TestEveryReviewFromReadyOnIsShownToTheCandidateOrCountedAsDropped(t *testing.T) {
	s := serveHere(t, "--demo", "--database-url", "sqlite:"+filepath.Join(t.TempDir(), "gatehouse.db"),
		"--shadow-policies", candidateFolder(t, "{URL_UNSAFE: warn}"))
	s.waitReady()
	const reviews = 20
	for range reviews {
		s.register(1)
	}
	s.shadowed(func(status httpapi.ShadowStatus) bool {
		return status.Summary != nil && status.Summary.Evaluated+status.Summary.Dropped == reviews
	})
}
