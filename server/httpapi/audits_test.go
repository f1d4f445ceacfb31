package httpapi_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/audit"
	"github.com/molecule-ai/gatehouse/server/httpapi"
)

// auditID is the id of an audit. The test of the OpenAPI document asks for everything under this one id.
const auditID = workspaceID

// audited is a store with these runs and findings. It is away if fail is set.
type audited struct {
	runs     []audit.Run
	findings []audit.Finding
	fail     error
}

func (a *audited) Audits(_ context.Context, limit int) ([]audit.Run, error) {
	return a.runs[:min(limit, len(a.runs))], a.fail
}

func (a *audited) AuditFindings(_ context.Context, query audit.Query) ([]audit.Finding, error) {
	var page []audit.Finding
	for _, f := range a.findings {
		if f.RunID == query.RunID && (query.Code == "" || query.Code == f.Code) &&
			f.WorkspaceID.String() > query.After.String() && len(page) < query.Limit {
			page = append(page, f)
		}
	}
	return page, a.fail
}

// auditsOf are a run that denied what d denied and one that is running, newest first.
func auditsOf(d admission.Decision) *audited {
	at := time.Date(2026, 4, 1, 12, 0, 0, 5000, time.UTC)
	return &audited{
		runs: []audit.Run{
			{ID: uuid.MustParse(unknownID[:35] + "e"), Hook: "register", State: audit.Running, Revision: "sha256:0012", StartedAt: at, UpdatedAt: at},
			{
				ID: uuid.MustParse(auditID), Hook: "register", State: audit.Finished, Enforce: true, Revision: "sha256:0011",
				Candidate: true, Deployment: &admission.Deployment{SaaS: true}, FactsRevision: "sha256:0013",
				StartedAt: at, UpdatedAt: at, FinishedAt: &at, Worked: 1500 * time.Millisecond,
				Evaluated: 7, Denied: 1, Warned: 1, Failed: 1, Marked: 1,
				Violations: map[string]int64{identityGate.Code: 1, "TIER_INVALID": 2},
				NotJudged:  []audit.NotJudged{{Rule: "has_a_card", Code: "CARD_MISSING", Reads: []string{"input.request.agent_card"}}},
			},
		},
		findings: []audit.Finding{
			{
				RunID: uuid.MustParse(auditID), WorkspaceID: d.WorkspaceID, Kind: "platform", Status: "online", Denied: true,
				Code: identityGate.Code, Violations: d.Verdict.Violations, Marked: true, DecisionID: d.ID,
			},
			{
				RunID: uuid.MustParse(auditID), WorkspaceID: uuid.MustParse(decisionID), Kind: "workspace", Code: "TIER_INVALID",
				Violations: []admission.Violation{violation("TIER_INVALID", admission.Low, admission.Warn)},
			},
			{RunID: uuid.MustParse(auditID), WorkspaceID: uuid.MustParse(eventID), Error: admission.CodePolicyError},
		},
	}
}

func serveAudits(t *testing.T, a *audited) *service {
	t.Helper()
	return full(t, func(o *httpapi.Options) { o.Audits = a })
}

func someAudits(t *testing.T) *audited {
	t.Helper()
	denied, err := deny(t.Context(), admission.Review{Hook: "register", WorkspaceID: uuid.MustParse(workspaceID)})
	require.NoError(t, err)
	return auditsOf(denied)
}

const auditReport = `{"id": "` + auditID + `", "hook": "register", "state": "finished", "enforce": true, "policy_revision": "sha256:0011",
	"candidate": true, "deployment": {"saas": true}, "facts_revision": "sha256:0013",
	"started_at": "2026-04-01T12:00:00.000005Z", "updated_at": "2026-04-01T12:00:00.000005Z", "finished_at": "2026-04-01T12:00:00.000005Z",
	"worked_seconds": 1.5, "evaluated": 7, "denied": 1, "warned": 1, "failed": 1, "marked": 1,
	"violations": {"PLATFORM_AGENT_IDENTITY_GATE": 1, "TIER_INVALID": 2}, "not_judged": [{"rule": "has_a_card", "code": "CARD_MISSING", "reads": ["input.request.agent_card"]}]}`

func TestAuditsListAndShow(t *testing.T) {
	s := serveAudits(t, someAudits(t))
	got := s.send(http.MethodGet, "/v1/audits", "")
	require.Equal(t, 200, got.status)
	require.JSONEq(t, `{"audits": [{"id": "`+unknownID[:35]+`e", "hook": "register", "state": "running", "enforce": false,
		"policy_revision": "sha256:0012", "candidate": false, "deployment": null, "facts_revision": "", "started_at": "2026-04-01T12:00:00.000005Z", "updated_at": "2026-04-01T12:00:00.000005Z",
		"finished_at": null, "worked_seconds": 0, "evaluated": 0, "denied": 0, "warned": 0, "failed": 0, "marked": 0, "violations": {}, "not_judged": []}, `+
		auditReport+`]}`, got.body)
	require.JSONEq(t, auditReport, s.send(http.MethodGet, "/v1/audits/"+auditID, "").body)
	require.JSONEq(t, `{"audits": []}`, serveAudits(t, &audited{}).send(http.MethodGet, "/v1/audits", "").body)
}

func TestAuditFindingsArePaged(t *testing.T) {
	const path = "/v1/audits/" + auditID + "/findings"
	s := serveAudits(t, someAudits(t))
	first := s.send(http.MethodGet, path+"?limit=2", "")
	require.Equal(t, 200, first.status)
	require.Contains(t, first.body, `"decision_id":"`+decisionID+`"`)
	require.Contains(t, first.body, `"next":"`+decisionID+`"`)
	rest := s.send(http.MethodGet, path+"?limit=2&cursor="+decisionID, "")
	require.JSONEq(t, `{"findings": [{"run_id": "`+auditID+`", "workspace_id": "`+eventID+`", "kind": "", "status": "",
		"denied": false, "code": "", "violations": [], "error": "policy_error", "marked": false}], "next": ""}`, rest.body)
	ofCode := s.send(http.MethodGet, path+"?code=TIER_INVALID", "")
	require.Contains(t, ofCode.body, `"next":""`)
	require.NotContains(t, ofCode.body, identityGate.Code)
	require.JSONEq(t, `{"findings": [], "next": ""}`, s.send(http.MethodGet, path+"?code=NONE", "").body)
}

func TestAuditsRefuseBadQueries(t *testing.T) {
	s := serveAudits(t, someAudits(t))
	for _, path := range []string{
		"?limit=1", "/x", "/" + auditID + "?code=A", "/" + auditID + "/findings?limit=0", "/" + auditID + "/findings?limit=1001",
		"/" + auditID + "/findings?limit=", "/" + auditID + "/findings?cursor=x", "/" + auditID + "/findings?codes=A",
		"/" + auditID + "/findings?code=A&code=B", "/x/findings",
	} {
		requireProblem(t, s.send(http.MethodGet, "/v1/audits"+path, ""), 400, admission.CodeMalformedRequest)
	}
	for _, path := range []string{"/" + unknownID, "/" + unknownID + "/findings"} {
		requireProblem(t, s.send(http.MethodGet, "/v1/audits"+path, ""), 404, admission.CodeNotFound)
	}
	away := someAudits(t)
	away.fail = errHidden
	s = serveAudits(t, away)
	for _, path := range []string{"", "/" + auditID, "/" + auditID + "/findings"} {
		requireProblem(t, s.send(http.MethodGet, "/v1/audits"+path, ""), 500, admission.CodeRecordFailed)
	}
}
