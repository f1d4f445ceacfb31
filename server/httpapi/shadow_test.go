package httpapi_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi"
	"github.com/molecule-ai/gatehouse/server/httpapi/auth"
	"github.com/molecule-ai/gatehouse/server/httpapi/resources"
	"github.com/molecule-ai/gatehouse/server/shadow"
)

const candidateRevision = "sha256:1be2ffb33c7a0d55"

// candidateDouble is a shadow with a candidate that can be promoted again and again, until an error is set.
type candidateDouble struct {
	err      error
	examples int
	revision string
	caller   string
}

func (c *candidateDouble) ShadowStatus(_ context.Context, examples int) (resources.ShadowStatus, error) {
	c.examples = examples
	denied := identityGate
	denied.Enforcement, denied.Declared = admission.Warn, admission.Deny
	example := shadow.Divergence{
		DecisionID: uuid.MustParse(decisionID), WorkspaceID: uuid.MustParse(workspaceID), Hook: "register", At: time.Now().UTC(),
		Live: admission.NewVerdict([]admission.Violation{identityGate}, "sha256:0011"), Candidate: admission.NewVerdict([]admission.Violation{denied}, candidateRevision),
	}
	return resources.ShadowStatus{
		Candidate: &shadow.Candidate{Revision: candidateRevision, Source: "policies", Since: time.Now().UTC()},
		Refused:   &resources.PolicyRefusal{Source: "policies", At: time.Now().UTC(), Reason: "it does not parse"},
		Queued:    3,
		Summary: &shadow.Summary{
			Pair:   shadow.Pair{Live: "sha256:0011", Candidate: candidateRevision},
			Counts: shadow.Counts{Evaluated: 3, Diverged: 1, Failed: 1, Dropped: 1},
			Flips: []shadow.Flip{
				{Kind: admission.DenyToAllow, Rule: "a", Code: "A", Count: 1, Examples: []shadow.Example{example.Example()}},
				{Kind: admission.CandidateError, Count: 1, Examples: []shadow.Example{}},
			},
		},
	}, c.err
}

func (c *candidateDouble) Promote(_ context.Context, revision, caller string) (resources.Promotion, error) {
	c.revision, c.caller = revision, caller
	return resources.Promotion{Revision: candidateRevision, Source: "policies", Previous: "sha256:0011", At: time.Now().UTC()}, c.err
}

func TestShadowShow(t *testing.T) {
	double := &candidateDouble{}
	s := full(t, func(o *httpapi.Options) { o.Shadow = double })
	got := s.send(http.MethodGet, "/v1/policies/shadow", "")
	require.Equal(t, 200, got.status)
	require.Equal(t, 5, double.examples)
	var status resources.ShadowStatus
	require.NoError(t, json.Unmarshal([]byte(got.body), &status))
	require.Equal(t, admission.DenyToAllow, status.Summary.Flips[0].Kind)
	require.Contains(t, got.body, `"enforcement":"warn","status":400,"mark_failed":true,"answer":"platform agent identity incomplete","declared":"deny"`)

	require.Equal(t, 200, s.send(http.MethodGet, "/v1/policies/shadow?examples=100", "").status)
	require.Equal(t, 100, double.examples)
	for _, query := range []string{"examples=101", "examples=-1", "examples=", "examples=x", "limit=1", "examples=1&more=2"} {
		requireProblem(t, s.send(http.MethodGet, "/v1/policies/shadow?"+query, ""), 400, admission.CodeMalformedRequest)
	}
	double.err = errHidden
	requireProblem(t, s.send(http.MethodGet, "/v1/policies/shadow", ""), 500, admission.CodeRecordFailed)
}

func TestPromoteChecksRoleAndRevision(t *testing.T) {
	double := &candidateDouble{}
	s := full(t, func(o *httpapi.Options) {
		o.Shadow = double
		o.Authenticator.Use([]auth.Token{token(t, "ada", auth.RoleAuthor, authorToken)})
	})
	promote := func(body string) answered {
		return s.send(http.MethodPost, "/v1/policies/promote", body, "Authorization", "Bearer "+authorToken)
	}
	got := promote(`{"revision": "` + candidateRevision + `"}`)
	require.Equal(t, 200, got.status, got.body)
	require.Contains(t, got.body, `"previous_revision":"sha256:0011"`)
	require.Equal(t, candidateRevision, double.revision)
	require.Equal(t, "ada", double.caller)
	require.Equal(t, 200, promote("").status)
	require.Empty(t, double.revision)
	requireProblem(t, promote(`{"candidate": "x"}`), 400, admission.CodeMalformedRequest)
	for _, code := range []admission.Code{admission.CodeNoCandidate, admission.CodeCandidateChanged} {
		double.err = &admission.Error{Code: code, Detail: "look again"}
		require.Equal(t, "look again", requireProblem(t, promote(""), 409, code))
	}
}

func TestShadowWithoutACandidate(t *testing.T) {
	s := full(t, func(o *httpapi.Options) { o.Shadow = nil })
	got := s.send(http.MethodGet, "/v1/policies/shadow", "")
	require.JSONEq(t, `{"candidate": null, "refused": null, "queued": 0, "summary": null}`, got.body)
	requireProblem(t, s.send(http.MethodPost, "/v1/policies/promote", ""), 409, admission.CodeNoCandidate)
}

// A dry server answers every deny as an allow, with warnings that say what it would have denied.
func TestDryServerAnswersDeniesAsAllowsWithWarnings(t *testing.T) {
	s := full(t, func(o *httpapi.Options) {
		o.DryRun = true
		o.Reviewer = reviewer(func(ctx context.Context, r admission.Review) (admission.Decision, error) {
			d, err := deny(ctx, admission.Review{Hook: r.Hook, WorkspaceID: r.WorkspaceID, DryRun: true})
			d.Unenforced = !r.DryRun
			return d, err
		})
	})
	got := s.register(registerBody)
	require.Equal(t, 200, got.status)
	var a struct {
		Allowed    bool              `json:"allowed"`
		DryRun     bool              `json:"dry_run"`
		Status     any               `json:"status"`
		Warnings   []string          `json:"warnings"`
		Violations []json.RawMessage `json:"violations"`
		Marked     bool              `json:"marked_failed"`
	}
	require.NoError(t, json.Unmarshal([]byte(got.body), &a))
	require.True(t, a.Allowed)
	require.True(t, a.DryRun)
	require.Nil(t, a.Status)
	require.False(t, a.Marked)
	require.Equal(t, []string{identityGate.Message, "It is tier_invalid."}, a.Warnings)
	require.NotContains(t, got.body, `"deny"`)
	require.Equal(t, 200, s.relay(payload).status)
	require.Contains(t, s.batch(registerBody).body, `"allowed":true`)

	own := s.register(withMembers(`"dry_run": true`))
	require.Contains(t, own.body, `"allowed":false`, "a review's own dry run hears the verdict")
	require.Contains(t, s.send(http.MethodGet, "/v1/policies", "").body, `"dry_run":true`)
}
