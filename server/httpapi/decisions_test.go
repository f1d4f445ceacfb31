package httpapi_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi"
	"github.com/molecule-ai/gatehouse/server/httpapi/auth"
	"github.com/molecule-ai/gatehouse/server/ledger"
	"github.com/molecule-ai/gatehouse/server/stream"
)

const unknownID = "01890a5d-ac96-774b-bcce-b3020000dead"

// recorded is a ledger of these decisions, oldest first. Queries for the hook away fail.
type recorded []admission.Decision

func (r recorded) Decision(_ context.Context, id uuid.UUID) (ledger.Decision, error) {
	if id.String() == unknownID || len(r) == 0 {
		return ledger.Decision{}, ledger.ErrNoDecision
	}
	return ledger.Decision{Decision: r[0]}, nil
}

func (r recorded) Summarize(_ context.Context, filter ledger.Filter) (ledger.Summary, error) {
	if filter.Hook == "away" {
		return ledger.Summary{}, errHidden
	}
	return ledger.Summary{Decisions: int64(time.Since(filter.Since).Hours()), Codes: []ledger.CodeSummary{}}, nil
}

// A summary goes back seven days by default. Its error does not say why the store failed.
func TestDecisionsSummaryHasASpan(t *testing.T) {
	s := evidence(t)
	for query, hours := range map[string]int{"": 168, "?since=" + time.Now().Add(-3*time.Hour).UTC().Format(time.RFC3339): 3} {
		res := s.send(http.MethodGet, "/v1/decisions/summary"+query, "")
		require.Equal(t, http.StatusOK, res.status)
		require.JSONEq(t, fmt.Sprintf(`{"decisions": %d, "allowed": 0, "denied": 0, "failed": 0, "codes": []}`, hours), res.body)
	}
	requireProblem(t, s.send(http.MethodGet, "/v1/decisions/summary?hook=away", ""), http.StatusInternalServerError, "record_failed")
	requireProblem(t, s.send(http.MethodGet, "/v1/decisions/summary?since=yesterday", ""), http.StatusBadRequest, "malformed_request")
	requireProblem(t, s.send(http.MethodGet, "/v1/decisions/summary?code=X", ""), http.StatusBadRequest, "malformed_request")
}

func (r recorded) Decisions(_ context.Context, query ledger.Query) ([]ledger.Decision, error) {
	if query.Hook == "away" {
		return nil, errHidden
	}
	var page []ledger.Decision
	for i := len(r) - 1; i >= 0 && len(page) < query.Limit; i-- {
		d := r[i]
		if (query.After == uuid.Nil || d.ID.String() < query.After.String()) && query.Passes(&d) {
			page = append(page, ledger.Decision{Decision: d})
		}
	}
	return page, nil
}

// oneDecision is a source that ends after one decision.
type oneDecision struct{ *admission.Decision }

func (o oneDecision) Subscribe(
	context.Context, int64,
) (func(context.Context) ([]stream.Streamed[admission.Decision], error), error) {
	given := false
	return func(context.Context) ([]stream.Streamed[admission.Decision], error) {
		if given {
			return nil, io.EOF
		}
		given = true
		return []stream.Streamed[admission.Decision]{{Position: 17, Item: o.Decision}}, nil
	}, nil
}

func failedDecision() admission.Decision {
	return admission.Decision{
		ID: uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8060"), At: time.Date(2026, 4, 1, 12, 0, 1, 0, time.UTC),
		Hook: "register", CallerProof: admission.Bootstrap, WorkspaceID: uuid.MustParse(workspaceID), Kind: "workspace",
		Input: []byte(`null`), Redaction: admission.ErasedWhole(), Verdict: admission.Verdict{Revision: "sha256:0011"},
		Failed: &admission.Failure{Code: admission.CodeFactsUnavailable, Detail: "the facts of the workspace cannot be read"},
	}
}

// evidence is a service with a deny that marked and an error of a second later.
func evidence(t *testing.T) *service {
	t.Helper()
	denied, err := deny(t.Context(), admission.Review{UID: "u-1", Hook: "register", WorkspaceID: uuid.MustParse(workspaceID)})
	require.NoError(t, err)
	denied.Caller, denied.CallerProof, denied.Kind = "eu", admission.Token, "platform"
	denied.Trace = admission.Trace{RequestID: "req-7", Parent: traceParent}
	denied.Input = []byte(`{"hook":"register","n":12345678901234567890}`)
	denied.Timings = admission.Timings{Facts: 412500 * time.Nanosecond, Policy: 96 * time.Microsecond}
	return serve(t, func(o *httpapi.Options) {
		o.Decisions = recorded{denied, failedDecision()}
		o.DecisionStream = oneDecision{&denied}
	})
}

const deniedRecord = `{"id": "` + decisionID + `", "uid": "u-1", "time": "2026-04-01T12:00:00.000005Z", "hook": "register",
	"caller": "eu", "caller_proof": "token", "request_id": "req-7", "traceparent": "` + traceParent + `", "workspace_id": "` + workspaceID + `", "kind": "platform", "dry_run": false,
	"allowed": false, "code": "PLATFORM_AGENT_IDENTITY_GATE", "violations": [
		{"rule": "platform_requires_model", "code": "PLATFORM_AGENT_IDENTITY_GATE", "reason": "model_missing",
		 "message": "The platform agent has no MODEL secret of its own.", "severity": "critical", "enforcement": "deny",
		 "status": 400, "mark_failed": true, "answer": "platform agent identity incomplete"},
		{"rule": "url_unsafe", "code": "URL_UNSAFE", "reason": "url_unsafe", "message": "It is url_unsafe.",
		 "severity": "high", "enforcement": "audit", "status": 400, "mark_failed": false},
		{"rule": "tier_invalid", "code": "TIER_INVALID", "reason": "tier_invalid", "message": "It is tier_invalid.",
		 "severity": "low", "enforcement": "warn", "status": 400, "mark_failed": false}],
	"marked_failed": true, "event": {"event": "WORKSPACE_PROVISION_FAILED", "workspace_id": "` + workspaceID + `",
		"timestamp": "2026-04-01T12:00:00.000005Z", "payload": {"error": "The platform agent has no MODEL secret of its own.",
		"code": "PLATFORM_AGENT_IDENTITY_GATE", "reason": "model_missing"}},
	"policy_revision": "sha256:0011", "timings": {"facts_us": 412, "policy_us": 96}, "error": null, "erased": [], "masked": []`

func TestDecisionIsShownInFull(t *testing.T) {
	s := evidence(t)
	got := s.send(http.MethodGet, "/v1/decisions/"+decisionID, "")
	require.Equal(t, 200, got.status)
	require.JSONEq(t, deniedRecord+`, "input": {"hook": "register", "n": 12345678901234567890}}`, got.body)
	require.Contains(t, got.body, "12345678901234567890", "numbers are those that were sent")

	requireProblem(t, s.send(http.MethodGet, "/v1/decisions/"+unknownID, ""), 404, admission.CodeNotFound)
	for _, id := range []string{"x", strings.ToUpper(decisionID), "{" + decisionID + "}"} {
		requireProblem(t, s.send(http.MethodGet, "/v1/decisions/"+url.PathEscape(id), ""), 400, admission.CodeMalformedRequest)
	}
}

func TestDecisionsListIsNewestFirstWithoutInputs(t *testing.T) {
	s := evidence(t)
	got := s.send(http.MethodGet, "/v1/decisions", "")
	require.Equal(t, 200, got.status)
	require.NotContains(t, got.body, `"input"`)
	failed := `{"id": "01890a5d-ac96-774b-bcce-b302099a8060", "uid": "", "time": "2026-04-01T12:00:01Z", "hook": "register",
		"caller": "", "caller_proof": "bootstrap", "request_id": "", "traceparent": "", "workspace_id": "` + workspaceID + `", "kind": "workspace", "dry_run": false,
		"allowed": null, "code": "facts_unavailable", "violations": [], "marked_failed": false, "event": null,
		"policy_revision": "sha256:0011", "timings": {"facts_us": 0, "policy_us": 0},
		"error": {"code": "facts_unavailable", "detail": "the facts of the workspace cannot be read"},
		"erased": ["/input"], "masked": []`
	require.JSONEq(t, `{"decisions": [`+failed+`}, `+deniedRecord+`}], "next": ""}`, got.body)

	got = s.send(http.MethodGet, "/v1/decisions?input=true&limit=1", "")
	require.JSONEq(t, `{"decisions": [`+failed+`, "input": null}], "next": "01890a5d-ac96-774b-bcce-b302099a8060"}`, got.body)
	got = s.send(http.MethodGet, "/v1/decisions?limit=1&cursor=01890a5d-ac96-774b-bcce-b302099a8060", "")
	require.JSONEq(t, `{"decisions": [`+deniedRecord+`}], "next": ""}`, got.body)
	requireProblem(t, s.send(http.MethodGet, "/v1/decisions?hook=away", ""), 500, admission.CodeRecordFailed)
}

func TestDecisionsFilters(t *testing.T) {
	s := evidence(t)
	for query, n := range map[string]int{
		"": 2, "hook=register": 2, "hook=heartbeat": 0, "allowed=false": 1, "allowed=true": 0, "failed=true": 1, "failed=false": 1,
		"code=PLATFORM_AGENT_IDENTITY_GATE": 1, "code=facts_unavailable": 1, "code=TIER_INVALID": 0, "uid=u-1": 1, "uid=u-2": 0,
		"workspace_id=" + workspaceID: 2, "workspace_id=" + strings.ToUpper(workspaceID): 2, "workspace_id=" + decisionID: 0,
		"since=2026-04-01T12:00:00.000005Z": 2, "since=2026-04-01T12:00:00.000006Z": 1, "until=2026-04-01T14:00:00.000005%2B02:00": 0,
		"since=2026-04-01T12:00:00Z&until=2026-04-01T12:00:01Z": 1,
	} {
		got := s.send(http.MethodGet, "/v1/decisions?"+query, "")
		require.Equal(t, 200, got.status, query)
		require.Equal(t, n, strings.Count(got.body, `"policy_revision"`), query)
	}
}

func TestDecisionsRefuseBadFilters(t *testing.T) {
	s := evidence(t)
	for _, query := range []string{
		"colour=blue", "allowed=yes", "allowed=", "failed=1", "since=yesterday", "since=", "until=2026-04-01", "workspace_id=x",
		"workspace_id=", "hook=a&hook=b", "input=x",
	} {
		requireProblem(t, s.send(http.MethodGet, "/v1/decisions?"+query, ""), 400, admission.CodeMalformedRequest)
		requireProblem(t, s.send(http.MethodGet, "/v1/decisions/stream?"+query, ""), 400, admission.CodeMalformedRequest)
	}
	for _, query := range []string{"limit=0", "limit=1001", "limit=x", "cursor=x", "last_event_id=1"} {
		requireProblem(t, s.send(http.MethodGet, "/v1/decisions?"+query, ""), 400, admission.CodeMalformedRequest)
	}
	for _, query := range []string{"limit=1", "cursor=" + decisionID, "last_event_id=x"} {
		requireProblem(t, s.send(http.MethodGet, "/v1/decisions/stream?"+query, ""), 400, admission.CodeMalformedRequest)
	}
}

func TestDecisionsStream(t *testing.T) {
	s := evidence(t)
	for query, shown := range map[string]string{
		"": deniedRecord + "}", "?input=true": deniedRecord + `, "input": {"hook": "register", "n": 12345678901234567890}}`,
		"?allowed=true": "",
	} {
		got := s.send(http.MethodGet, "/v1/decisions/stream"+query, "")
		require.Equal(t, 200, got.status)
		require.Equal(t, "text/event-stream", got.header.Get("Content-Type"))
		_, data, found := strings.Cut(got.body, "id: 17\nevent: decision\ndata: ")
		require.Equal(t, shown != "", found, got.body)
		if found {
			require.JSONEq(t, shown, strings.TrimSpace(data))
		}
	}
}

func TestDecisionsRoles(t *testing.T) {
	denied, err := deny(t.Context(), admission.Review{})
	require.NoError(t, err)
	s := serve(t, func(o *httpapi.Options) {
		o.Decisions, o.DecisionStream = recorded{denied}, oneDecision{&denied}
		o.Authenticator.Use([]auth.Token{
			token(t, "registry", auth.RoleRegistry, registryToken), token(t, "author", auth.RoleAuthor, authorToken),
			token(t, "viewer", auth.RoleViewer, viewerToken),
		})
	})
	for _, path := range []string{"/v1/decisions", "/v1/decisions/" + decisionID, "/v1/decisions/stream"} {
		for _, plain := range []string{registryToken, authorToken, viewerToken} {
			require.Equal(t, 200, s.send(http.MethodGet, path, "", "Authorization", "Bearer "+plain).status)
		}
		requireProblem(t, s.send(http.MethodGet, path, ""), 401, admission.CodeUnauthenticated)
		requireProblem(t, s.send(http.MethodPost, path, ""), 405, admission.CodeMethodNotAllowed)
	}
}
