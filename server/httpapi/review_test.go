package httpapi_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
	"github.com/molecule-ai/gatehouse/server/httpapi"
	"github.com/molecule-ai/gatehouse/server/httpapi/auth"
)

const denied = `{
	"uid": "u-1", "decision_id": "` + decisionID + `", "allowed": false,
	"status": {"code": 400, "reason": "PLATFORM_AGENT_IDENTITY_GATE", "message": "platform agent identity incomplete"},
	"violations": [
		{"rule": "platform_requires_model", "code": "PLATFORM_AGENT_IDENTITY_GATE", "reason": "model_missing",
		 "message": "The platform agent has no MODEL secret of its own.", "severity": "critical", "enforcement": "deny"},
		{"rule": "tier_invalid", "code": "TIER_INVALID", "reason": "tier_invalid",
		 "message": "It is tier_invalid.", "severity": "low", "enforcement": "warn"}],
	"warnings": ["It is tier_invalid."],
	"marked_failed": true,
	"event": {"event": "WORKSPACE_PROVISION_FAILED", "workspace_id": "` + workspaceID + `",
		"timestamp": "2026-04-01T12:00:00.000005Z",
		"payload": {"error": "The platform agent has no MODEL secret of its own.",
			"code": "PLATFORM_AGENT_IDENTITY_GATE", "reason": "model_missing"}},
	"policy_revision": "sha256:0011"}`

func TestReviewAnswersAnAllow(t *testing.T) {
	got := serve(t, nil).register(registerBody)
	require.Equal(t, 200, got.status)
	require.Equal(t, "application/json", got.header.Get("Content-Type"))
	require.JSONEq(t, `{"decision_id": "`+decisionID+`", "allowed": true, "violations": [], "warnings": [],
		"marked_failed": false, "event": null, "policy_revision": "sha256:0011"}`, got.body)
}

func TestReviewAnswersADenyWithoutAuditViolations(t *testing.T) {
	s := serveReviewer(t, deny)
	got := s.register(withMembers(`"uid": "u-1"`))
	require.Equal(t, 200, got.status)
	require.JSONEq(t, denied, got.body)

	got = s.register(withMembers(`"uid": "u-1", "dry_run": true`))
	require.Equal(t, 200, got.status)
	require.Contains(t, got.body, `"marked_failed":false,"event":null`)
}

func TestReviewAnswersTheMessageWithoutAnAnswer(t *testing.T) {
	s := serveReviewer(t, func(context.Context, admission.Review) (admission.Decision, error) {
		return admission.Decision{Verdict: admission.NewVerdict([]admission.Violation{
			violation("URL_UNSAFE", admission.High, admission.Deny),
		}, "")}, nil
	})
	require.Contains(t, s.register(registerBody).body, `"status":{"code":400,"reason":"URL_UNSAFE","message":"It is url_unsafe."}`)
}

func TestReviewAnswersWarningsWithAnAllow(t *testing.T) {
	s := serveReviewer(t, func(context.Context, admission.Review) (admission.Decision, error) {
		return admission.Decision{Verdict: admission.NewVerdict([]admission.Violation{
			violation("TIER_INVALID", admission.Critical, admission.Warn), violation("URL_UNSAFE", admission.Critical, admission.Audit),
		}, "")}, nil
	})
	got := s.register(registerBody)
	require.Contains(t, got.body, `"allowed":true,"violations":[{"rule":"tier_invalid"`)
	require.Contains(t, got.body, `"warnings":["It is tier_invalid."]`)
	require.NotContains(t, got.body, `"status"`)
	require.NotContains(t, got.body, "URL_UNSAFE")
}

func TestReviewPassesOnWhatWasSent(t *testing.T) {
	var got admission.Review
	s := serveReviewer(t, func(ctx context.Context, r admission.Review) (admission.Decision, error) {
		got = r
		return allow(ctx, r)
	})
	body := `{"uid": "u-1", "dry_run": true, "caller_proof": "install",
		"workspace": {"id": "{01890A5D-AC96-774B-BCCE-B302099A8057}", "kind": "platform", "extra": [1]}}`
	require.Equal(t, 200, s.send(http.MethodPost, "/v1/admission/heartbeat", body).status)
	require.Equal(t, "heartbeat", got.Hook)
	require.Equal(t, "u-1", got.UID)
	require.True(t, got.DryRun)
	require.Equal(t, admission.Install, got.CallerProof)
	require.Equal(t, workspaceID, got.WorkspaceID.String())
	require.Equal(t, "platform", got.Kind)
	require.Contains(t, string(got.Workspace), `"extra": [1]`)

	require.Equal(t, 200, s.register(registerBody).status)
	require.Equal(t, admission.Token, got.CallerProof)
}

func TestReviewRefusesMalformedBodies(t *testing.T) {
	s := serveReviewer(t, func(context.Context, admission.Review) (admission.Decision, error) {
		panic("the reviewer was asked")
	})
	for name, body := range map[string]string{
		"not JSON":              `{`,
		"null":                  `null`,
		"array":                 `[]`,
		"trailing bytes":        registerBody + `{}`,
		"unknown member":        withMembers(`"bogus": 1`),
		"other case":            strings.Replace(registerBody, "workspace", "Workspace", 1),
		"duplicate member":      withMembers(`"dry_run": true, "dry_run": false`),
		"duplicate below":       `{"workspace": {"id": "` + workspaceID + `", "kind": "", "kind": "platform"}}`,
		"no workspace":          `{}`,
		"no id":                 `{"workspace": {}}`,
		"malformed id":          `{"workspace": {"id": "01890a5d"}}`,
		"number as id":          `{"workspace": {"id": 1}}`,
		"proof unknown":         withMembers(`"caller_proof": "oath"`),
		"proof empty":           withMembers(`"caller_proof": ""`),
		"dry_run of wrong type": withMembers(`"dry_run": "yes"`),
		"uid too long":          withMembers(`"uid": "` + strings.Repeat("u", 129) + `"`),
		"NUL":                   `{"workspace": {"id": "` + workspaceID + `", "name": "a\u0000"}}`,
		"invalid UTF-8":         `{"workspace": {"id": "` + workspaceID + `", "name": "` + "\xff" + `"}}`,
		"too deep":              `{"workspace": {"id": "` + workspaceID + `", "a": ` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}}`,
	} {
		t.Run(name, func(t *testing.T) {
			require.NotEmpty(t, requireProblem(t, s.register(body), 400, admission.CodeMalformedRequest))
		})
	}
	requireProblem(t, s.send(http.MethodPost, "/v1/admission/register", "", "Content-Type", "application/json"), 400, admission.CodeMalformedRequest)
}

func TestReviewAnswersAnyBytesWithAWellFormedAnswer(t *testing.T) {
	s := serve(t, nil)
	rapid.Check(t, func(rt *rapid.T) {
		body := []byte(registerBody)
		at := rapid.IntRange(0, len(body)-1).Draw(rt, "at")
		body = append(body[:at:at], append(rapid.SliceOfN(rapid.Byte(), 0, 4).Draw(rt, "bytes"), body[at+rapid.IntRange(0, 1).Draw(rt, "cut"):]...)...)
		got := s.register(string(body))
		if got.status != 200 {
			requireProblem(t, got, 400, admission.CodeMalformedRequest)
		}
	})
}

func withMembers(members string) string {
	return strings.Replace(registerBody, "{", "{"+members+", ", 1)
}

func TestReviewTakesOnlyPlainJSON(t *testing.T) {
	s := serve(t, nil)
	for _, media := range []string{
		"application/json", "application/json; charset=utf-8", "Application/JSON", "application/json;Charset=UTF-8",
		`application/json; charset="Utf-8"`, "application/json; charset=utf8", "application/json; profile=x",
	} {
		require.Equal(t, 200, s.register(registerBody, "Content-Type", media).status, media)
	}
	for _, media := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/problem+json", "application/json; charset", "/"} {
		requireProblem(t, s.register(registerBody, "Content-Type", media), 415, admission.CodeUnsupportedMediaType)
	}
	for _, charset := range []string{"utf-16", "UTF-16LE", `"utf-16"`, "utf-32", "iso-8859-1", "us-ascii", `""`, "utf-8; charset=utf-16", "*=UTF-8''utf-16"} {
		got := s.register(registerBody, "Content-Type", "application/json; charset="+charset)
		requireProblem(t, got, 415, admission.CodeUnsupportedMediaType)
	}
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	_, err := io.WriteString(writer, registerBody)
	require.NoError(t, err)
	require.NoError(t, writer.Close())
	requireProblem(t, s.register(packed.String(), "Content-Encoding", "gzip"), 415, admission.CodeUnsupportedMediaType)
	require.Equal(t, 200, s.register(registerBody, "Content-Encoding", "identity").status)
}

func TestReviewBodyLimit(t *testing.T) {
	const limit = 512
	s := serve(t, func(o *httpapi.Options) { o.MaxBodyBytes = limit })
	full := registerBody + strings.Repeat(" ", limit-len(registerBody))
	require.Equal(t, 200, s.register(full).status)
	require.Equal(t, 200, s.relay(`{"id": "`+workspaceID+`"}`+strings.Repeat(" ", limit-46)).status)
	requireProblem(t, s.register(full+" "), 413, admission.CodeRequestTooLarge)
	requireProblem(t, s.register(strings.Repeat("{", 10*limit)), 413, admission.CodeRequestTooLarge)
	require.Equal(t, 413, s.relay(full+" ").status)

	for extra, status := range map[string]int{"": 200, " ": 413} { // of unknown length
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/v1/admission/register", io.MultiReader(strings.NewReader(full+extra)))
		require.NoError(t, err)
		request.Header.Set("Content-Type", "application/json")
		require.EqualValues(t, 0, request.ContentLength)
		require.Equal(t, status, s.do(request).status)
	}
}

const unfinished = "POST /v1/admission/register HTTP/1.1\r\nHost: gatehouse\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"

func TestReviewDeadlineHoldsForSlowBodies(t *testing.T) {
	s := serve(t, func(o *httpapi.Options) { o.RequestTimeout, o.MaxInFlight = 100*time.Millisecond, 1 })
	text, err := io.ReadAll(s.raw(unfinished)) // the server hangs up, too
	require.NoError(t, err)
	require.Contains(t, string(text), "HTTP/1.1 504 ")
	require.Contains(t, string(text), `"code":"deadline_exceeded"`)
	require.Equal(t, 200, s.register(registerBody).status, "the place is free again")
}

func TestReviewRefusesABodyThatIsCutOff(t *testing.T) {
	s := serve(t, nil)
	connection := s.raw(unfinished)
	require.NoError(t, connection.(interface{ CloseWrite() error }).CloseWrite())
	text, err := io.ReadAll(connection)
	require.NoError(t, err)
	require.Contains(t, string(text), `"code":"malformed_request"`)
}

func TestRefusedRequestsBodyIsReadUntilTheDeadline(t *testing.T) {
	s := serve(t, func(o *httpapi.Options) {
		o.RequestTimeout = 100 * time.Millisecond
		o.Authenticator.Use([]auth.Token{token(t, "registry", auth.RoleRegistry, registryToken)})
	})
	for _, path := range []string{"/v1/admission/register", "/registry/register", "/v1/workspaces/" + workspaceID, "/nowhere", "/healthz"} {
		text, err := io.ReadAll(s.raw(strings.Replace(unfinished, "/v1/admission/register", path, 1)))
		require.NoError(t, err)
		require.Regexp(t, "^HTTP/1.1 40[145] ", string(text), path)
	}
}

func TestReadDeadlineIsNoHangUp(t *testing.T) {
	ended := make(chan error, 1)
	s := serve(t, func(o *httpapi.Options) {
		o.RequestTimeout = 20 * time.Millisecond
		o.Reviewer = reviewer(func(ctx context.Context, _ admission.Review) (admission.Decision, error) {
			<-ctx.Done()
			ended <- ctx.Err()
			return admission.Decision{}, &admission.Error{Code: admission.CodeDeadlineExceeded}
		})
	})
	for range 20 {
		requireProblem(t, s.register(registerBody), 504, admission.CodeDeadlineExceeded)
		require.ErrorIs(t, <-ended, context.DeadlineExceeded)
	}
}

func TestConnectionOutlivesItsRequestsDeadlines(t *testing.T) {
	var deadline time.Time
	s := serve(t, func(o *httpapi.Options) {
		o.RequestTimeout = 2 * time.Second
		o.Reviewer = reviewer(func(ctx context.Context, r admission.Review) (admission.Decision, error) {
			deadline, _ = ctx.Deadline()
			return allow(ctx, r)
		})
	})
	for round := range 3 {
		var connected httptrace.GotConnInfo
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { connected = info }})
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/v1/admission/register", strings.NewReader(registerBody))
		require.NoError(t, err)
		request.Header.Set("Content-Type", "application/json")
		require.Equal(t, 200, s.do(request).status)
		require.Equal(t, round > 0, connected.Reused, "round %d", round)
		if round == 0 {
			<-time.After(time.Until(deadline.Add(50 * time.Millisecond)))
		}
	}
}

func TestBatchKeepsItsOrder(t *testing.T) {
	s := serve(t, func(o *httpapi.Options) { o.BatchParallel = 16 })
	for _, n := range []int{1, 50, decode.MaxBatch} {
		got := s.batch(numbered(n))
		require.Equal(t, 200, got.status)
		at := 0
		for i := range n {
			next := strings.Index(got.body[at:], fmt.Sprintf(`{"uid":"u-%d","decision_id"`, i))
			require.GreaterOrEqual(t, next, 0, "review %d", i)
			at += next
		}
		require.Equal(t, n, strings.Count(got.body, `"allowed":true`))
	}
}

func (s *service) batch(reviews ...string) answered {
	s.t.Helper()
	return s.send(http.MethodPost, "/v1/admission/register/batch", `{"reviews": [`+strings.Join(reviews, ",")+`]}`)
}

func numbered(n int) string {
	reviews := make([]string, n)
	for i := range reviews {
		reviews[i] = withMembers(fmt.Sprintf(`"uid": "u-%d"`, i))
	}
	return strings.Join(reviews, ",")
}

func TestBatchIsRefusedForOneMalformedReview(t *testing.T) {
	s := serveReviewer(t, func(context.Context, admission.Review) (admission.Decision, error) {
		panic("the reviewer was asked")
	})
	require.Contains(t, requireProblem(t, s.batch(registerBody, registerBody, `{"workspace": {"id": "x"}}`), 400, admission.CodeMalformedRequest), "reviews[2]: ")
	requireProblem(t, s.batch(), 400, admission.CodeMalformedRequest)
	require.Contains(t, requireProblem(t, s.batch(numbered(decode.MaxBatch+1)), 400, admission.CodeMalformedRequest), "1001")
	for _, body := range []string{`{}`, `[]`, `{"reviews": {}}`, `{"reviews": [1]}`, `{"reviews": [` + registerBody + `], "more": 1}`} {
		got := s.send(http.MethodPost, "/v1/admission/register/batch", body)
		requireProblem(t, got, 400, admission.CodeMalformedRequest)
	}
}

func TestBatchAnswersEachFailureAlone(t *testing.T) {
	s := serveReviewer(t, func(ctx context.Context, r admission.Review) (admission.Decision, error) {
		switch r.UID {
		case "u-0":
			return deny(ctx, r)
		case "u-1":
			return admission.Decision{}, &admission.Error{Code: admission.CodeFactsUnavailable, Detail: "away", Err: errHidden}
		default:
			return allow(ctx, r)
		}
	})
	got := s.batch(numbered(3))
	require.Equal(t, 200, got.status)
	require.JSONEq(t, `{"decisions": [`+strings.Replace(denied, "u-1", "u-0", 1)+`,
		{"uid": "u-1", "allowed": false, "error": {"type": "about:blank", "title": "Internal Server Error", "status": 500,
			"detail": "away", "code": "facts_unavailable"}},
		{"uid": "u-2", "decision_id": "`+decisionID+`", "allowed": true, "violations": [], "warnings": [],
			"marked_failed": false, "event": null, "policy_revision": "sha256:0011"}]}`, got.body)
}

func TestBatchForAnUnknownHookIsOneError(t *testing.T) {
	s := serveReviewer(t, failing(&admission.Error{Code: admission.CodeUnknownHook, Detail: "no policy defines this hook"}))
	requireProblem(t, s.batch(numbered(3)), 404, admission.CodeUnknownHook)
}

func TestBatchBodyLimit(t *testing.T) {
	s := serve(t, func(o *httpapi.Options) { o.MaxBodyBytes, o.MaxBatchBytes = 256, 1024 })
	body := `{"reviews": [` + numbered(3) + `]}`
	full := body + strings.Repeat(" ", 1024-len(body))
	require.Equal(t, 200, s.send(http.MethodPost, "/v1/admission/register/batch", full).status)
	requireProblem(t, s.send(http.MethodPost, "/v1/admission/register/batch", full+" "), 413, admission.CodeRequestTooLarge)
}

func TestBatchEndsWithItsDeadline(t *testing.T) {
	s := serve(t, func(o *httpapi.Options) {
		o.RequestTimeout, o.BatchParallel = 50*time.Millisecond, 2
		o.Reviewer = reviewer(func(ctx context.Context, _ admission.Review) (admission.Decision, error) {
			<-ctx.Done()
			return admission.Decision{}, &admission.Error{Code: admission.CodeDeadlineExceeded}
		})
	})
	got := s.batch(numbered(100))
	require.Equal(t, 200, got.status)
	require.Equal(t, 100, strings.Count(got.body, `"code":"deadline_exceeded"`))
	require.Equal(t, 100, strings.Count(got.body, `"allowed":false`))
}

func TestBatchParallelLimit(t *testing.T) {
	running, most := make(chan struct{}, 3), make(chan int, 100)
	s := serve(t, func(o *httpapi.Options) {
		o.BatchParallel = 3
		o.Reviewer = reviewer(func(ctx context.Context, r admission.Review) (admission.Decision, error) {
			select {
			case running <- struct{}{}:
			default:
				return admission.Decision{}, fmt.Errorf("a fourth review at once")
			}
			most <- len(running)
			<-running
			return allow(ctx, r)
		})
	})
	got := s.batch(numbered(100))
	require.Equal(t, 100, strings.Count(got.body, `"allowed":true`), got.body)
}
