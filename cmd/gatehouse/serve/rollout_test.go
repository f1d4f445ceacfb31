package serve_test

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/programtest"
	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi/resources"
	"github.com/molecule-ai/gatehouse/server/shadow"
)

func hasCandidate(status resources.ShadowStatus) bool { return status.Candidate != nil }

func TestDryRunServerEnforcesNothingAndTellsOfEverything(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	s := programtest.Serve(t, "--demo", "--dry-run", "--database-url", "sqlite:"+path)
	s.WaitReady()
	const uid = `, "uid": "req-1"`
	for range 2 {
		got := s.Register(2, uid)
		require.True(t, got.Allowed)
		require.True(t, got.DryRun)
		require.False(t, got.Marked)
		require.Contains(t, got.Warnings, "The platform agent has no MODEL secret of its own.")
	}
	require.True(t, s.Register(1).Allowed)
	require.False(t, s.Register(2, `, "dry_run": true`).Allowed, "a review's own dry run hears the verdict")
	status, body := s.Send(http.MethodPost, "/registry/register", `{"id": "00000000-0000-4000-8000-000000000002", "url": "https://agent.example.com"}`, "")
	require.Equal(t, 200, status, body)
	_, body = s.Send(http.MethodGet, "/v1/policies", "", "")
	require.Contains(t, body, `"dry_run":true`)
	_, text := s.Send(http.MethodGet, "/metrics", "", "")
	requirePromtool(t, text)
	require.Contains(t, text, "\ngatehouse_dry_run 1\n")
	require.Contains(t, text, `gatehouse_admission_decisions_total{code="PLATFORM_AGENT_IDENTITY_GATE",decision="dry_run",hook="register",kind="platform"} 4`+"\n")
	require.Contains(t, text, `gatehouse_decision_records_total{result="recorded"} 4`+"\n")
	require.NotRegexp(t, `decision="deny".* [1-9]`, text)
	require.Zero(t, s.Stop())
	require.Contains(t, s.Log.String(), "DRY RUN: nothing is enforced")
	require.Contains(t, s.Log.String(), `"dry_run":true,`)

	var dry, denied, events int
	var workspace string
	cmdtest.Query(t, path, `select count(*), sum(not allowed) from decisions where dry_run = 1 and (allowed or code = 'PLATFORM_AGENT_IDENTITY_GATE')`, &dry, &denied)
	cmdtest.Query(t, path, `select (select count(*) from events), (select status from workspaces where id like '%0002')`, &events, &workspace)
	require.Equal(t, 4, dry)
	require.Equal(t, 3, denied, "the record has the true verdict")
	require.Zero(t, events)
	require.NotEqual(t, "failed", workspace)

	s = programtest.Serve(t, "--database-url", "sqlite:"+path)
	s.WaitReady()
	got := s.Register(2, uid)
	require.False(t, got.Allowed, "what was let in by the dry run is decided anew")
	require.False(t, got.DryRun)
	require.True(t, got.Marked)
	_, text = s.Send(http.MethodGet, "/metrics", "", "")
	require.Contains(t, text, "\ngatehouse_dry_run 0\n")
}

func TestCandidateIsWatchedComparedAndPromoted(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	s := programtest.Serve(t, "--demo", "--database-url", "sqlite:"+path, "--shadow-policies", cmdtest.CandidateFolder(t, "{"+cmdtest.IdentityGateCode+": audit}"))
	s.WaitReady()
	candidate := s.Shadowed(hasCandidate).Candidate.Revision
	live := s.Register(1).PolicyRevision
	require.NotEqual(t, live, candidate)
	denied := s.Register(2)
	require.False(t, denied.Allowed, "a candidate decides nothing")

	status := s.Shadowed(func(status resources.ShadowStatus) bool {
		return status.Summary.Evaluated == 2 && len(status.Summary.Flips) == 1
	})
	require.Equal(t, shadow.Pair{Live: live, Candidate: candidate}, status.Summary.Pair)
	require.Equal(t, shadow.Counts{Evaluated: 2, Diverged: 1}, status.Summary.Counts)
	flip := status.Summary.Flips[0]
	require.Equal(t, admission.DenyToAllow, flip.Kind)
	require.Equal(t, "platform_requires_model", flip.Rule)
	require.Equal(t, denied.DecisionID, flip.Examples[0].DecisionID.String())
	require.Equal(t, admission.Deny, flip.Examples[0].Live.Violations[0].Enforcement)
	require.Equal(t, admission.Audit, flip.Examples[0].Candidate.Violations[0].Enforcement)
	require.Equal(t, admission.Deny, flip.Examples[0].Candidate.Violations[0].Declared)
	_, text := s.Send(http.MethodGet, "/metrics", "", "")
	requirePromtool(t, text)
	require.Contains(t, text, `gatehouse_policy_shadow_divergences_total{code="PLATFORM_AGENT_IDENTITY_GATE",kind="deny_to_allow"} 1`+"\n")

	diff := programtest.Command(t, "", "policies", "diff", "--database-url", "sqlite:"+path)
	require.Zero(t, diff.Code, diff.Err)
	for _, part := range []string{
		"candidate " + candidate + " beside " + live, "2 evaluated, 1 diverged, 0 failed; 0 dropped", "deny_to_allow  PLATFORM_AGENT_IDENTITY_GATE",
		"decision " + denied.DecisionID + " of workspace 00000000-0000-4000-8000-000000000002, register",
		"live:      deny  deny PLATFORM_AGENT_IDENTITY_GATE/model_missing\n",
		"candidate: allow  audit PLATFORM_AGENT_IDENTITY_GATE/model_missing (the rule says deny)\n",
	} {
		require.Contains(t, diff.Out, part)
	}
	diff = programtest.Command(t, "", "policies", "diff", "--output=json", "--database-url", "sqlite:"+path, "--live", live, "--candidate", candidate)
	var summary shadow.Summary
	require.NoError(t, json.Unmarshal([]byte(diff.Out), &summary))
	require.Equal(t, *status.Summary, summary)

	refused := programtest.Command(t, "", "policies", "promote", "--url", s.URL, "--revision", "sha256:0000")
	require.Equal(t, cli.ExitFailed, refused.Code)
	require.Contains(t, refused.Err, "candidate_changed: the candidate is "+candidate)
	promoted := programtest.Command(t, "", "policies", "promote", "--url", s.URL+"/", "--revision", candidate)
	require.Zero(t, promoted.Code, promoted.Err)
	require.Contains(t, promoted.Out, candidate+" is live in place of "+live)
	after := s.Register(2)
	require.True(t, after.Allowed)
	require.Equal(t, candidate, after.PolicyRevision)
	s.Shadowed(func(status resources.ShadowStatus) bool { return status.Candidate == nil && status.Summary == nil })
	refused = programtest.Command(t, "", "policies", "promote", "--url", s.URL)
	require.Equal(t, cli.ExitFailed, refused.Code)
	require.Contains(t, refused.Err, "no_candidate: ")
	require.Zero(t, s.Stop())
	require.Contains(t, s.Log.String(), "the candidate policies were promoted and are live")
}

func TestBadCandidateLeavesLiveReviewsAlone(t *testing.T) {
	t.Parallel()
	s := programtest.Serve(t, "--demo", "--database-url", "sqlite:"+filepath.Join(t.TempDir(), "gatehouse.db"),
		"--shadow-policies", cmdtest.PolicyFolder(t, "broken.rego", "package a\n\nb if c(1)"))
	s.WaitReady()
	status := s.Shadowed(func(status resources.ShadowStatus) bool { return status.Refused != nil })
	require.Contains(t, status.Refused.Reason, "broken.rego:3:")
	require.Nil(t, status.Candidate)
	require.True(t, s.Register(1).Allowed)
}

func TestPromoteAndDiffNeedAServerOrAStore(t *testing.T) {
	t.Parallel()
	got := programtest.Command(t, "", "policies", "promote", "--url", "http://127.0.0.1:1")
	require.Equal(t, cli.ExitFailed, got.Code)
	require.Contains(t, got.Err, "http://127.0.0.1:1: ")
	got = programtest.Command(t, "", "policies", "diff", "--live", "x")
	require.Equal(t, cli.ExitFailed, got.Code)
	require.Contains(t, got.Err, "--live and --candidate go together")
}

// Promoted under load, the candidate decides from one request to the next: none fails, and each verdict is that of
// the revision that it names.
func TestPromotionUnderLoadFailsNoRequestAndMixesNoRevisions(t *testing.T) {
	const clients, each = 6, 25
	s := programtest.Serve(t, "--demo", "--database-url", "sqlite:"+filepath.Join(t.TempDir(), "gatehouse.db"),
		"--shadow-policies", cmdtest.CandidateFolder(t, "{"+cmdtest.IdentityGateCode+": warn}"))
	s.WaitReady()
	candidate := s.Shadowed(hasCandidate).Candidate.Revision
	live := s.Register(1).PolicyRevision

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
				problem := s.DecideOnce(live, candidate, since)
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
	status, body := s.Send(http.MethodPost, "/v1/policies/promote", "", "")
	promoted.Store(true)
	after.Wait()
	close(stop)
	running.Wait()
	require.Equal(t, 200, status, body)
	if problem := wrong.Load(); problem != nil {
		require.Fail(t, *problem)
	}
}

func TestCandidateIsComparedOnPostgres(t *testing.T) {
	t.Parallel()
	database := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	s := programtest.Serve(t, "--database-url", database, "--shadow-policies", cmdtest.CandidateFolder(t, "{URL_UNSAFE: warn}"))
	s.WaitReady()
	s.Shadowed(hasCandidate)
	status, body := s.Send(http.MethodPost, "/v1/admission/register", `{"workspace": {"id": "01890a5d-ac96-774b-bcce-b302099a8057", "url": "http://169.254.169.254/"}}`, "")
	require.Equal(t, 200, status, body)
	s.Shadowed(func(status resources.ShadowStatus) bool {
		return status.Summary.Diverged == 1 && len(status.Summary.Flips) == 1
	})
	diff := programtest.Command(t, "", "policies", "diff", "--database-url", database)
	require.Zero(t, diff.Code, diff.Err)
	require.Contains(t, diff.Out, "1 evaluated, 1 diverged, 0 failed; 0 dropped")
	require.Contains(t, diff.Out, "warn URL_UNSAFE/")
}

func TestCandidateSeesEveryReviewFromReadyOnOrCountsItAsDropped(t *testing.T) {
	t.Parallel()
	s := programtest.Serve(t, "--demo", "--database-url", "sqlite:"+filepath.Join(t.TempDir(), "gatehouse.db"),
		"--shadow-policies", cmdtest.CandidateFolder(t, "{URL_UNSAFE: warn}"))
	s.WaitReady()
	const reviews = 20
	for range reviews {
		s.Register(1)
	}
	s.Shadowed(func(status resources.ShadowStatus) bool {
		return status.Summary != nil && status.Summary.Evaluated+status.Summary.Dropped == reviews
	})
}
