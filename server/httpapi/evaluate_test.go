package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi"
	"github.com/molecule-ai/gatehouse/server/httpapi/auth"
)

// rules deny every workspace that has no MODEL.
type rules struct {
	httpapi.TriedRules // Mask, which no what-if needs
	revision           string
	fails              error
}

func (rules) HasHook(hook string) bool { return hook == "register" }

func (r rules) Evaluate(ctx context.Context, in admission.Input, _ time.Time) (admission.Verdict, error) {
	switch {
	case r.fails != nil:
		return admission.Verdict{}, r.fails
	case in.CallerProof == admission.Bootstrap:
		panic("the engine broke")
	case in.CallerProof == admission.Install:
		<-ctx.Done()
		return admission.Verdict{}, ctx.Err()
	case slices.Contains(in.Facts.SecretKeys, "MODEL"):
		return admission.NewVerdict([]admission.Violation{violation("TIER_INVALID", admission.Low, admission.Warn)}, r.revision), nil
	}
	return admission.NewVerdict([]admission.Violation{identityGate, violation("URL_UNSAFE", admission.High, admission.Audit)}, r.revision), nil
}

func (rules) Rules() []admission.Rule {
	return []admission.Rule{
		{Name: "never", Code: "NEVER", File: "lib/never.rego", Row: 3},
		{
			Name: identityGate.Rule, Package: "admission.lib", Code: identityGate.Code, File: "lib/model.rego", Row: 7,
			Title: "A model", Description: "It has one.", Severity: admission.Critical, Status: 400,
		},
	}
}

func (r rules) Explanation(ctx context.Context, in admission.Input, at time.Time) (admission.Explanation, error) {
	verdict, err := r.Evaluate(ctx, in, at)
	rule := r.Rules()[1]
	return admission.Explanation{
		Verdict: verdict,
		Rules: []admission.RuleExplanation{{Rule: rule, Fired: !verdict.Allowed(), Why: []admission.Reason{{
			File: rule.File, Row: 8, Expression: "not has_model", Outcome: "was false",
			Because: []admission.Reason{{File: rule.File, Row: 20, Expression: "x == 1", Outcome: "was undefined", Values: []string{"x is 2"}}},
		}}}},
		Coverage: []admission.FileCoverage{{File: rule.File, Percent: 50, Missed: []int{9}}},
	}, err
}

// bench has live rules, and takes any candidate but one.
type bench struct{ live httpapi.TriedRules }

func (b bench) Live() httpapi.TriedRules { return b.live }

func (b bench) Candidate(ctx context.Context, files map[string]string) (httpapi.TriedRules, error) {
	switch files["a.rego"] {
	case "wrong":
		return nil, admission.Malformed("the candidate is refused: a.rego:1: it does not parse")
	case "slow":
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return rules{revision: "sha256:0022"}, nil
}

// storedFacts are the facts of every workspace.
type storedFacts struct {
	keys  []string
	fails error
}

func (s storedFacts) Facts(context.Context, uuid.UUID) (admission.Facts, error) {
	facts, err := admission.NewFacts(true, []byte(`{"kind": "platform"}`), s.keys, nil)
	return facts, errors.Join(s.fails, err)
}

func whatIfs() httpapi.WhatIfOptions {
	return httpapi.WhatIfOptions{
		Policies: bench{rules{revision: "sha256:0011"}}, Facts: storedFacts{keys: []string{"MODEL"}},
		Timeout: patience, Evaluator: admission.Evaluator{Timeout: patience},
	}
}

func (s *service) evaluate(body string, headers ...string) answered {
	s.t.Helper()
	return s.send(http.MethodPost, "/v1/evaluate", body, headers...)
}

// whatIf is a body with further members.
func whatIf(members string) string {
	return `{"hook": "register", "review": ` + registerBody + members + `}`
}

const withoutModel = `, "facts": {"exists": true, "workspace": {"kind": "platform"}}`

func TestEvaluateTellsTheVerdictAndItsRules(t *testing.T) {
	s := full(t, nil)
	got := s.evaluate(whatIf(withoutModel))
	require.Equal(t, 200, got.status, got.body)
	require.JSONEq(t, `{
		"allowed": false, "status": {"code": 400, "reason": "PLATFORM_AGENT_IDENTITY_GATE", "message": "platform agent identity incomplete"},
		"violations": [
			{"rule": "platform_requires_model", "code": "PLATFORM_AGENT_IDENTITY_GATE", "reason": "model_missing",
			 "message": "The platform agent has no MODEL secret of its own.", "severity": "critical", "enforcement": "deny",
			 "status": 400, "mark_failed": true, "answer": "platform agent identity incomplete"},
			{"rule": "url_unsafe", "code": "URL_UNSAFE", "reason": "url_unsafe", "message": "It is url_unsafe.", "severity": "high",
			 "enforcement": "audit", "status": 400, "mark_failed": false}],
		"warnings": [], "marks_failed": true, "fired": [{"rule": "platform_requires_model", "file": "lib/model.rego", "row": 7}],
		"policy_revision": "sha256:0011"}`, got.body)
}

func TestEvaluateReadsStoredFactsWhereNoneAreGiven(t *testing.T) {
	s := full(t, nil)
	got := s.evaluate(whatIf(""))
	require.Equal(t, 200, got.status, got.body)
	require.Contains(t, got.body, `"allowed":true`)
	require.Contains(t, got.body, `"warnings":["It is tier_invalid."]`)

	s = full(t, func(o *httpapi.Options) { o.WhatIf.Facts = storedFacts{fails: errHidden} })
	require.NotContains(t, requireProblem(t, s.evaluate(whatIf("")), 500, admission.CodeFactsUnavailable), "hunter2")
	require.Equal(t, 200, s.evaluate(whatIf(withoutModel)).status)
}

func TestEvaluateExplainsOnRequest(t *testing.T) {
	s := full(t, nil)
	var told struct {
		Rules    []admission.RuleExplanation `json:"rules"`
		Coverage []admission.FileCoverage    `json:"coverage"`
	}
	got := s.evaluate(whatIf(`, "explain": true`))
	require.Equal(t, 200, got.status, got.body)
	require.NoError(t, json.Unmarshal([]byte(got.body), &told))
	require.Equal(t, "x is 2", told.Rules[0].Why[0].Because[0].Values[0])
	require.Equal(t, []int{9}, told.Coverage[0].Missed)

	require.NoError(t, json.Unmarshal([]byte(s.evaluate(whatIf(withoutModel+`, "explain": true`)).body), &told))
	require.True(t, told.Rules[0].Fired)
}

func TestEvaluateTakesCandidatesFromAuthorsOnly(t *testing.T) {
	const candidate = `, "candidate": {"files": {"a.rego": "package admission.register"}}`
	open := full(t, nil)
	require.Contains(t, open.evaluate(whatIf(candidate)).body, `"policy_revision":"sha256:0022"`)

	s := full(t, func(o *httpapi.Options) {
		o.Authenticator.Use([]auth.Token{
			token(t, "eu", auth.RoleRegistry, registryToken), token(t, "ada", auth.RoleAuthor, authorToken),
		})
	})
	asRegistry, asAuthor := []string{"Authorization", "Bearer " + registryToken}, []string{"Authorization", "Bearer " + authorToken}
	require.Equal(t, 200, s.evaluate(whatIf(""), asRegistry...).status)
	requireProblem(t, s.evaluate(whatIf(candidate), asRegistry...), 403, admission.CodeForbidden)
	require.Contains(t, s.evaluate(whatIf(candidate), asAuthor...).body, `"policy_revision":"sha256:0022"`)
}

func TestEvaluateRefusesABadCandidate(t *testing.T) {
	s := full(t, nil)
	got := s.evaluate(whatIf(`, "candidate": {"files": {"a.rego": "wrong"}}`))
	require.Contains(t, requireProblem(t, got, 400, admission.CodeMalformedRequest), "a.rego:1: it does not parse")

	s = full(t, func(o *httpapi.Options) { o.RequestTimeout = 50 * time.Millisecond })
	requireProblem(t, s.evaluate(whatIf(`, "candidate": {"files": {"a.rego": "slow"}}`)), 504, admission.CodeDeadlineExceeded)
}

func TestEvaluateAnswersFaultsWithErrors(t *testing.T) {
	s := full(t, func(o *httpapi.Options) { o.WhatIf.Policies = bench{rules{fails: errHidden}} })
	for _, members := range []string{"", `, "explain": true`} {
		require.NotContains(t, requireProblem(t, s.evaluate(whatIf(members)), 500, admission.CodePolicyError), "hunter2")
	}
	s = full(t, func(o *httpapi.Options) { o.WhatIf.Policies = bench{} })
	requireProblem(t, s.evaluate(whatIf("")), 503, admission.CodeNotReady)
	s = full(t, func(o *httpapi.Options) { o.WhatIf.Evaluator.Timeout = time.Millisecond })
	requireProblem(t, s.evaluate(proving("install")), 500, admission.CodePolicyError)
	s = full(t, func(o *httpapi.Options) { o.RequestTimeout = 50 * time.Millisecond })
	requireProblem(t, s.evaluate(proving("install")), 504, admission.CodeDeadlineExceeded)
	requireProblem(t, s.evaluate(proving("bootstrap")), 500, admission.CodeInternal)
	requireProblem(t, s.evaluate(strings.Replace(whatIf(""), "register", "nope", 1)), 404, admission.CodeUnknownHook)
	s = full(t, func(o *httpapi.Options) { o.MaxInFlight = 0 })
	requireProblem(t, s.evaluate(whatIf("")), 503, admission.CodeOverloaded)
}

// proving is a what-if whose caller proved itself so, by which rules know what to do.
func proving(proof string) string {
	return strings.Replace(whatIf(""), `{"workspace"`, `{"caller_proof": "`+proof+`", "workspace"`, 1)
}

func TestEvaluateBatchKeepsOrderAndAnswersFaultsAlone(t *testing.T) {
	s := full(t, func(o *httpapi.Options) { o.RequestTimeout = time.Second })
	one := func(body string) string { return strings.Replace(body, `"hook": "register", `, "", 1) }
	got := s.send(http.MethodPost, "/v1/evaluate/batch", `{"hook": "register", "reviews": [`+
		strings.Join([]string{one(whatIf("")), one(proving("bootstrap")), one(whatIf(withoutModel)), one(proving("install"))}, ",")+`]}`)
	require.Equal(t, 200, got.status, got.body)
	var answer struct {
		Evaluations []struct {
			Allowed bool
			Status  struct{ Code int }
			Error   struct{ Code admission.Code }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(got.body), &answer))
	require.Len(t, answer.Evaluations, 4)
	require.True(t, answer.Evaluations[0].Allowed)
	require.False(t, answer.Evaluations[1].Allowed)
	require.Equal(t, admission.CodeInternal, answer.Evaluations[1].Error.Code)
	require.Equal(t, 400, answer.Evaluations[2].Status.Code)
	require.Equal(t, admission.CodeDeadlineExceeded, answer.Evaluations[3].Error.Code)

	unknown := s.send(http.MethodPost, "/v1/evaluate/batch", `{"hook": "nope", "reviews": [{"review": `+registerBody+`}]}`)
	requireProblem(t, unknown, 404, admission.CodeUnknownHook)
}

func TestOpenAPIRefusesTheWhatIfsThatTheServerRefuses(t *testing.T) {
	s := serve(t, nil)
	c := contractOf(t, s)
	const single, batch = "/v1/evaluate", "/v1/evaluate/batch"
	batchOf := func(n int) string {
		return `{"hook": "register", "reviews": [` + strings.TrimSuffix(strings.Repeat(`{"review": `+registerBody+`},`, n), ",") + `]}`
	}
	for _, row := range []struct {
		path, body string
		taken      bool
	}{
		{single, whatIf(""), true},
		{single, whatIf(withoutModel), true},
		{single, whatIf(`, "facts": null, "candidate": null, "explain": true`), true},
		{single, whatIf(`, "facts": {}`), true},
		{single, whatIf(`, "facts": {"exists": false, "secret_keys": null}`), true},
		{single, whatIf(`, "candidate": {"files": {"a.rego": ""}}`), true},
		{single, registerBody, false},
		{single, `{"review": ` + registerBody + `}`, false},
		{single, `{"hook": "register"}`, false},
		{single, whatIf(`, "hooks": 1`), false},
		{single, whatIf(`, "explain": "yes"`), false},
		{single, whatIf(`, "facts": {"exists": true}`), false},
		{single, whatIf(`, "facts": {"exists": true, "workspace": {}}`), false},
		{single, whatIf(`, "facts": {"exists": true, "workspace": []}`), false},
		{single, whatIf(`, "facts": {"secrets": []}`), false},
		{single, whatIf(`, "candidate": {}`), false},
		{single, whatIf(`, "candidate": {"files": {}}`), false},
		{single, whatIf(`, "candidate": {"files": {"a.rego": 1}}`), false},
		{batch, batchOf(1), true},
		{batch, batchOf(1000), true},
		{batch, batchOf(0), false},
		{batch, batchOf(1001), false},
		{batch, `{"reviews": [{"review": ` + registerBody + `}]}`, false},
		{batch, `{"hook": "register", "reviews": [{"review": {}}]}`, false},
		{batch, `{"hook": "register", "reviews": [{"review": ` + registerBody + `, "explain": true}]}`, false},
	} {
		got := s.send(http.MethodPost, row.path, row.body)
		err := c.validateText("/paths/"+escaped(row.path)+"/post/requestBody/content/application~1json/schema", row.body)
		if row.taken {
			require.Equal(t, 200, got.status, "%s: %s", row.body, got.body)
			require.NoError(t, err, row.body)
		} else {
			require.Equal(t, 400, got.status, row.body)
			require.Error(t, err, row.body)
		}
	}
}
