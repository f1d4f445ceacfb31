package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi"
	"github.com/molecule-ai/gatehouse/server/httpapi/resources"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// errorTable is the design's list of errors, and those that every HTTP service has.
var errorTable = []struct {
	code   admission.Code
	status int
	retry  bool
}{
	{admission.CodeMalformedRequest, 400, false},
	{admission.CodeUnauthenticated, 401, false},
	{admission.CodeForbidden, 403, false},
	{admission.CodeUnknownHook, 404, false},
	{admission.CodeUIDConflict, 409, false},
	{admission.CodeRequestTooLarge, 413, false},
	{admission.CodeUnsupportedMediaType, 415, false},
	{admission.CodeRateLimited, 429, true},
	{admission.CodeFactsUnavailable, 500, false},
	{admission.CodePolicyError, 500, false},
	{admission.CodeRecordFailed, 500, false},
	{admission.CodeInternal, 500, false},
	{admission.CodeLedgerUnavailable, 503, true},
	{admission.CodeNotReady, 503, true},
	{admission.CodeOverloaded, 503, true},
	{admission.CodeDeadlineExceeded, 504, false},
}

func TestProblemStatusOfEveryCode(t *testing.T) {
	for _, row := range errorTable {
		t.Run(string(row.code), func(t *testing.T) {
			s := serveReviewer(t, failing(&admission.Error{Code: row.code, Detail: "what the caller may know", Err: errHidden}))
			got := s.register(registerBody)
			require.Equal(t, "what the caller may know", requireProblem(t, got, row.status, row.code))
			require.NotContains(t, got.body, "hunter2")
			if row.retry {
				require.Equal(t, "1", got.header.Get("Retry-After"))
			} else {
				require.Empty(t, got.header.Get("Retry-After"))
			}
		})
	}
}

// A caller that hangs up gets no answer. The request is counted and logged as abandoned, not as a fault of the service.
func TestAbandonedRequestsAreNoFault(t *testing.T) {
	waiting := make(chan struct{})
	wait := func(ctx context.Context) error {
		waiting <- struct{}{}
		<-ctx.Done()
		return fmt.Errorf("reading: %w", ctx.Err())
	}
	s := serve(t, func(o *httpapi.Options) {
		o.Reviewer = reviewer(func(ctx context.Context, _ admission.Review) (admission.Decision, error) {
			return admission.Decision{}, admission.Abandoned(wait(ctx))
		})
		o.Decisions = slowDecisions{wait: wait}
	})
	for _, request := range []struct{ method, path, body string }{
		{http.MethodPost, "/v1/admission/register", registerBody},
		{http.MethodPost, "/registry/register", payload},
		{http.MethodGet, "/v1/decisions", ""},
	} {
		ctx, hangUp := context.WithCancel(t.Context())
		sent, err := http.NewRequestWithContext(ctx, request.method, s.URL+request.path, strings.NewReader(request.body))
		require.NoError(t, err)
		sent.Header.Set("Content-Type", "application/json")
		go func() {
			<-waiting
			hangUp()
		}()
		_, err = s.exchange(sent)
		require.ErrorIs(t, err, context.Canceled)
	}
	require.Eventually(t, func() bool { return len(s.observed.all()) == 3 }, patience, 1e6)
	require.ElementsMatch(t, []observation{
		{"/v1/admission/{hook}", "POST", 499}, {"/registry/register", "POST", 499}, {"/v1/decisions", "GET", 499},
	}, s.observed.all())
	refused := s.log.with(t, "refused")
	require.Len(t, refused, 1)
	require.Subset(t, refused[0], map[string]any{"level": "INFO", "code": "abandoned", "route": "/v1/decisions"})
}

// slowDecisions is a store that does not answer.
type slowDecisions struct {
	resources.DecisionReader
	wait func(context.Context) error
}

func (s slowDecisions) Decisions(ctx context.Context, _ ledger.Query) ([]ledger.Decision, error) {
	return nil, s.wait(ctx)
}

func TestProblemWithoutACodeIsAnInternalError(t *testing.T) {
	got := serveReviewer(t, failing(fmt.Errorf("wrapped: %w", errHidden))).register(registerBody)
	require.Empty(t, requireProblem(t, got, 500, admission.CodeInternal))
}

func TestUnknownPathsAndMethods(t *testing.T) {
	s := serve(t, nil)
	for _, path := range []string{"/", "/v1", "/v1/admission/", "/v1/admission/register/", "/v1/admission/a/b", "/registry", "/nowhere"} {
		requireProblem(t, s.send(http.MethodPost, path, registerBody), 404, admission.CodeNotFound)
	}
	for _, request := range []struct{ method, path, allowed string }{
		{http.MethodGet, "/v1/admission/register", "POST"},
		{http.MethodPut, "/v1/admission/register/batch", "POST"},
		{http.MethodGet, "/registry/register", "POST"},
		{http.MethodPost, "/v1/workspaces/" + workspaceID, "PUT, DELETE"},
		{http.MethodPost, "/healthz", "GET, HEAD"},
		{http.MethodOptions, "/v1/admission/register", "POST"},
		{http.MethodOptions, "/v1/policies", "GET, HEAD"},
		{http.MethodDelete, "/metrics", "GET, HEAD"},
		{"BREW", "/v1/policies", "GET, HEAD"},
	} {
		answer := s.send(request.method, request.path, "")
		requireProblem(t, answer, 405, admission.CodeMethodNotAllowed)
		require.Equal(t, request.allowed, answer.header.Get("Allow"))
	}
	requireProblem(t, s.send("BREW", "/nowhere", ""), 404, admission.CodeNotFound)
}

func TestPanicIsAnInternalError(t *testing.T) {
	s := serveReviewer(t, func(ctx context.Context, r admission.Review) (admission.Decision, error) {
		if r.UID == "bad" {
			panic("the engine broke")
		}
		return allow(ctx, r)
	})
	bad := strings.Replace(registerBody, "{", `{"uid": "bad", `, 1)
	requireProblem(t, s.register(bad), 500, admission.CodeInternal)
	require.Len(t, s.log.with(t, "panic"), 1)
	require.Equal(t, 200, s.register(registerBody).status)

	batch := s.send(http.MethodPost, "/v1/admission/register/batch", `{"reviews": [`+bad+`,`+registerBody+`]}`)
	require.Equal(t, 200, batch.status)
	require.Contains(t, batch.body, `{"uid":"bad","allowed":false,"error":{"type":"about:blank","title":"Internal Server Error","status":500,"code":"internal_error"}}`)
	require.Contains(t, batch.body, `"allowed":true`)

	s = serveReviewer(t, func(context.Context, admission.Review) (admission.Decision, error) { panic(errors.New("broke")) })
	got := s.relay(`{"id": "` + workspaceID + `"}`)
	require.Equal(t, 500, got.status)
	require.JSONEq(t, `{"error":"registration failed"}`, got.body)
}

func TestMetricLabelsAreBounded(t *testing.T) {
	s := serve(t, nil)
	s.register(registerBody)
	s.send(http.MethodPut, "/v1/workspaces/"+workspaceID+"/secrets/MODEL", "")
	s.send(http.MethodPost, "/nowhere/"+workspaceID, registerBody)
	s.send("BREW", "/v1/workspaces/"+workspaceID, "")
	require.Eventually(t, func() bool { return len(s.observed.all()) == 4 }, patience, 1e6)
	for _, one := range s.observed.all() {
		require.NotContains(t, one.route, workspaceID)
		require.NotEqual(t, "BREW", one.method)
	}
	require.Contains(t, s.observed.all(), observation{"/v1/admission/{hook}", "POST", 200})
	require.Contains(t, s.observed.all(), observation{"/v1/workspaces/{id}/secrets/{key}", "PUT", 204})
	require.Contains(t, s.observed.all(), observation{"none", "POST", 404})
}

func TestPoliciesShow(t *testing.T) {
	got := serve(t, func(o *httpapi.Options) {
		o.Policies = catalogue{Revision: "sha256:0011", Source: "embedded", Hooks: []string{"register"}}
	}).send(http.MethodGet, "/v1/policies", "")
	require.Equal(t, 200, got.status)
	require.JSONEq(t, `{"revision":"sha256:0011","source":"embedded","since":"0001-01-01T00:00:00Z","age_seconds":0,
		"hooks":["register"],"rules":[],"refused":null,"bundle":null,"confirmed":"0001-01-01T00:00:00Z","stale":false,
		"unreachable":null,"weaker_than_shipped":[],"remarks":[],"dry_run":false,
		"evaluator":"fast-path","disagreement":null}`, got.body)

	got = serve(t, func(o *httpapi.Options) { o.Policies = catalogue{} }).send(http.MethodGet, "/v1/policies", "")
	requireProblem(t, got, 503, admission.CodeNotReady)
}
