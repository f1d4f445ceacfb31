package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi"
	"github.com/molecule-ai/gatehouse/server/httpapi/auth"
)

// world is everything around a real Gate. Its zero value admits and records.
type world struct {
	factsErr, policyErr, ledgerErr error
	factsHang                      bool
	noPolicies                     bool
	violations                     []admission.Violation
	recorded                       map[admission.RequestKey]admission.Decision
}

func (w *world) Facts(ctx context.Context, _ uuid.UUID) (admission.Facts, error) {
	if w.factsHang {
		<-ctx.Done()
		return admission.Facts{}, ctx.Err()
	}
	facts, err := admission.NewFacts(true, []byte(`{"kind": "platform", "status": "provisioning"}`), nil, nil)
	return facts, errors.Join(err, w.factsErr)
}

func (w *world) Current() admission.Ruleset {
	if w.noPolicies {
		return nil
	}
	return w
}

func (w *world) HasHook(hook string) bool { return hook == "register" }

func (w *world) Evaluate(context.Context, admission.Input, time.Time) (admission.Verdict, error) {
	return admission.NewVerdict(w.violations, "sha256:0011"), w.policyErr
}

func (w *world) Mask(_ context.Context, _ admission.Decision, in admission.Input) (admission.RecordedInput, error) {
	text, err := in.JSON()
	return admission.RecordedInput{JSON: text, Revision: "sha256:0011"}, err
}

func (w *world) Failed(admission.FailedReview) {}

func (w *world) Recorded(_ context.Context, of admission.RequestKey) (admission.Decision, error) {
	d, found := w.recorded[of]
	if !found {
		return d, admission.ErrNotRecorded
	}
	return d, nil
}

func (w *world) Record(_ context.Context, d admission.Decision) (admission.Decision, error) {
	if w.ledgerErr != nil {
		return admission.Decision{}, w.ledgerErr
	}
	if w.recorded == nil {
		w.recorded = make(map[admission.RequestKey]admission.Decision)
	}
	w.recorded[d.RequestKey()] = d
	return d, nil
}

func (w *world) RecordAndMark(ctx context.Context, d admission.Decision, _ admission.Facts, _ admission.Judge) (admission.Judged, error) {
	err := d.Mark()
	if err != nil {
		return admission.Judged{}, err
	}
	recorded, err := w.Record(ctx, d)
	return admission.Judged{Decision: recorded}, err
}

func serveGate(t *testing.T, w *world) *service {
	t.Helper()
	return serve(t, func(o *httpapi.Options) {
		o.Reviewer = &admission.Gate{
			Facts: w, Policy: w, Ledger: w, Failures: w, Observer: httpapi.ReviewLog{Logger: o.Logger}, Now: time.Now,
			Limits: admission.Limits{Facts: 20 * time.Millisecond, Policy: patience, Request: patience},
		}
		o.Authenticator.Use([]auth.Token{
			token(t, "eu", auth.RoleRegistry, registryToken),
			token(t, "us", auth.RoleRegistry, otherRegistryToken),
		})
	})
}

const otherRegistryToken = "another-registry-token-0123456789"

// Two callers may use the same uid. Each request is decided, and each caller gets its own answer again.
func TestReviewKeepsUIDsOfCallersApart(t *testing.T) {
	s := serveGate(t, &world{})
	ask := func(token, body string) answered { return s.register(body, "Authorization", "Bearer "+token) }
	body := func(url string) string {
		return `{"uid": "1", "workspace": {"id": "` + workspaceID + `", "url": "` + url + `"}}`
	}
	eu := ask(registryToken, body("https://eu.example.com"))
	us := ask(otherRegistryToken, body("https://us.example.com"))
	require.Equal(t, 200, eu.status, eu.body)
	require.Equal(t, 200, us.status, us.body)
	require.NotEqual(t, eu.body, us.body, "decisions have ids")
	require.Equal(t, eu.body, ask(registryToken, body("https://eu.example.com")).body)
	require.Equal(t, us.body, ask(otherRegistryToken, body("https://us.example.com")).body)
	requireProblem(t, ask(registryToken, body("https://us.example.com")), 409, admission.CodeUIDConflict)
}

// planted stands for a secret in what a caller sends. No log line may repeat it.
const planted = "sk-planted-0123456789"

var (
	plantedReview = `{"uid": "` + planted + `", "workspace": {"id": "` + workspaceID + `", "name": "` + planted + `", "url": "https://` + planted + `@example.com",
		"agent_card": {"token": "` + planted + `"}, "` + planted + `": 1}}`
	denials = []admission.Violation{identityGate}
)

func TestReviewLogHasOneLineWithoutWhatWasSent(t *testing.T) {
	for name, test := range map[string]struct {
		world  *world
		hook   string
		body   string
		status int
		// of the review's line; nil if the request did not come as far
		line map[string]any
	}{
		"allow":      {&world{}, "register", plantedReview, 200, map[string]any{"decision": "allow", "kind": "platform", "repeated": false}},
		"deny":       {&world{violations: denials}, "register", plantedReview, 200, map[string]any{"decision": "deny", "code": identityGate.Code, "reason": "model_missing", "rule": identityGate.Rule, "marked_failed": true}},
		"no facts":   {&world{factsErr: errors.New("away")}, "register", plantedReview, 500, map[string]any{"decision": "error", "code": "facts_unavailable", "error": "away"}},
		"slow facts": {&world{factsHang: true}, "register", plantedReview, 500, map[string]any{"decision": "error", "code": "facts_unavailable"}},
		"no verdict": {&world{policyErr: errors.New("undefined")}, "register", plantedReview, 500, map[string]any{"decision": "error", "code": "policy_error"}},
		"no record":  {&world{ledgerErr: errors.New("disk full")}, "register", plantedReview, 500, map[string]any{"decision": "error", "code": "record_failed"}},
		"no mark":    {&world{ledgerErr: errors.New("disk full"), violations: denials}, "register", plantedReview, 500, map[string]any{"decision": "error", "code": "record_failed"}},
		"no policy":  {&world{noPolicies: true}, "register", plantedReview, 503, map[string]any{"decision": "error", "code": "not_ready", "level": "WARN"}},
		"other hook": {&world{}, planted, plantedReview, 404, map[string]any{"decision": "refused", "code": "unknown_hook", "level": "INFO"}},
		"conflict":   {&world{recorded: map[admission.RequestKey]admission.Decision{{Caller: "eu", UID: planted}: {}}}, "register", plantedReview, 409, map[string]any{"decision": "refused", "code": "uid_conflict", "level": "INFO"}},
		"bad JSON":   {&world{}, "register", plantedReview + planted, 400, nil},
		"bad member": {&world{}, "register", strings.Replace(plantedReview, `"uid"`, `"`+planted+`"`, 1), 400, nil},
		"bad id":     {&world{}, "register", strings.Replace(plantedReview, workspaceID, planted, 1), 400, nil},
		"bad proof":  {&world{}, "register", strings.Replace(plantedReview, "{", `{"caller_proof": "`+planted+`", `, 1), 400, nil},
		"duplicate":  {&world{}, "register", strings.Replace(plantedReview, `"name"`, `"`+planted+`"`, 1), 400, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := serveGate(t, test.world)
			got := s.send(http.MethodPost, "/v1/admission/"+test.hook, test.body, "Authorization", "Bearer "+registryToken)
			require.Equal(t, test.status, got.status, got.body)
			require.NotContains(t, s.log.String(), planted)
			require.NotContains(t, s.log.String(), registryToken)

			reviews, refusals := s.log.with(t, "review"), s.log.with(t, "refused")
			if test.line == nil {
				require.Empty(t, reviews)
				require.Len(t, refusals, 1)
				require.Equal(t, "eu", refusals[0]["caller"])
				return
			}
			require.Empty(t, refusals)
			require.Len(t, reviews, 1)
			require.Subset(t, reviews[0], test.line)
			require.Equal(t, got.header.Get("X-Request-Id"), reviews[0]["request_id"])
			require.Subset(t, reviews[0], map[string]any{"workspace_id": workspaceID, "caller": "eu", "caller_proof": "token", "dry_run": false})
			require.Contains(t, reviews[0], "took_ms")
			if test.status != 404 && test.status != 503 {
				require.Equal(t, "register", reviews[0]["hook"])
			}
			requireDecided(t, got, reviews[0])
		})
	}
}

// requireDecided compares the line with the answer.
func requireDecided(t *testing.T, got answered, line map[string]any) {
	t.Helper()
	if got.status != 200 {
		require.NotContains(t, line, "decision_id")
		return
	}
	var answer map[string]any
	require.NoError(t, json.Unmarshal([]byte(got.body), &answer))
	require.Equal(t, answer["decision_id"], line["decision_id"])
	require.Equal(t, answer["policy_revision"], line["policy_revision"])
	require.Equal(t, answer["marked_failed"], line["marked_failed"])
}

func TestReviewLogNamesRepeatedAnswers(t *testing.T) {
	s := serveGate(t, &world{})
	send := func(body string) answered { return s.register(body, "Authorization", "Bearer "+registryToken) }
	first, again := send(plantedReview), send(plantedReview)
	require.Equal(t, 200, first.status)
	require.Equal(t, first.body, again.body)
	requireProblem(t, send(strings.Replace(plantedReview, `"name": "`+planted, `"name": "other`, 1)), 409, admission.CodeUIDConflict)
	reviews := s.log.with(t, "review")
	require.Len(t, reviews, 3)
	require.Equal(t, false, reviews[0]["repeated"])
	require.Equal(t, true, reviews[1]["repeated"])
}

func TestReviewLogHasALineForEachReviewOfABatch(t *testing.T) {
	s := serveGate(t, &world{})
	for hook, status := range map[string]int{"register": 200, "retire": 404} {
		before := len(s.log.with(t, "review"))
		body := fmt.Sprintf(`{"reviews": [%s, %s]}`, withMembers(`"dry_run": true`), withMembers(`"dry_run": true`))
		got := s.send(http.MethodPost, "/v1/admission/"+hook+"/batch", body, "Authorization", "Bearer "+registryToken)
		require.Equal(t, status, got.status)
		require.Len(t, s.log.with(t, "review"), before+2)
	}
	require.Empty(t, s.log.with(t, "refused"))
}
