package programtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/program"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi/resources"
)

func PolicyStatus(t *testing.T, url string) resources.PolicyStatus {
	t.Helper()
	status, body := cmdtest.Fetch(t, url+"/v1/policies")
	require.Equal(t, http.StatusOK, status, body)
	var shown resources.PolicyStatus
	require.NoError(t, json.Unmarshal([]byte(body), &shown))
	return shown
}

func (s *served) Scrape() string {
	s.t.Helper()
	status, text := s.Send(http.MethodGet, "/metrics", "", "")
	require.Equal(s.t, http.StatusOK, status)
	return text
}

func (s *served) Get(path string) (int, string) { return s.Send(http.MethodGet, path, "", "") }

// LookUp has the store open all of the connections over which it looks facts up.
func (s *served) LookUp() {
	s.t.Helper()
	for range 2 * max(4, runtime.GOMAXPROCS(0)) {
		status, text := s.Send(http.MethodPost, "/v1/admission/register", cmdtest.DemoReview(1), "")
		require.Equal(s.t, http.StatusOK, status, text)
	}
}

// served is a serve that runs in this process.
type served struct {
	t    *testing.T
	URL  string
	Log  *bytes.Buffer // to be read once it has ended
	Stop func() int
}

// Serve runs serve in this process until the test ends. Its deadlines are long: a test of a deadline gives its own.
func Serve(t *testing.T, args ...string) *served {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		args = slices.Concat([]string{"serve", "--listen=127.0.0.1:0"}, cmdtest.Patient, args)
		code := program.Run(ctx, "devel", args, cli.Streams{Out: io.Discard, Err: writer})
		_ = writer.Close()
		ended <- code
	}()
	s := &served{t: t, Log: &bytes.Buffer{}}
	addresses, copied := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(copied)
		decoder := json.NewDecoder(io.TeeReader(reader, s.Log))
		for {
			var line struct{ Msg, Address string }
			if decoder.Decode(&line) != nil {
				_, _ = io.Copy(s.Log, reader)
				return
			}
			if line.Msg == "serving" {
				addresses <- line.Address
			}
		}
	}()
	stopped := false
	s.Stop = func() int {
		stopped = true
		cancel()
		code := <-ended
		<-copied
		return code
	}
	t.Cleanup(func() {
		if !stopped {
			s.Stop()
		}
	})
	select {
	case address := <-addresses:
		s.URL = "http://" + address
	case <-copied:
		require.FailNow(t, "serve ended", s.Log.String())
	case <-time.After(cmdtest.Patience):
		require.FailNow(t, "serve does not listen")
	}
	return s
}

// Send answers with status and body, on a connection of its own.
func (s *served) Send(method, path, body, token string) (int, string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.URL+path, strings.NewReader(body))
	require.NoError(s.t, err)
	request.Close = true
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(s.t, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	require.NoError(s.t, err)
	return response.StatusCode, string(text)
}

func (s *served) WaitReady() {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		status, _ := s.Send(http.MethodGet, "/readyz", "", "")
		return status == http.StatusOK
	}, cmdtest.Patience, 20*time.Millisecond)
}

type Registered struct {
	Allowed        bool     `json:"allowed"`
	DryRun         bool     `json:"dry_run"`
	Marked         bool     `json:"marked_failed"`
	Warnings       []string `json:"warnings"`
	PolicyRevision string   `json:"policy_revision"`
	DecisionID     string   `json:"decision_id"`
}

// Register asks for a demo workspace.
func (s *served) Register(n int, members ...string) Registered {
	s.t.Helper()
	status, body := s.Send(http.MethodPost, "/v1/admission/register", fmt.Sprintf(
		`{"workspace": {"id": "00000000-0000-4000-8000-%012d", "url": "https://agent.example.com"}%s}`, n, strings.Join(members, "")), "")
	require.Equal(s.t, 200, status, body)
	var got Registered
	require.NoError(s.t, json.Unmarshal([]byte(body), &got))
	return got
}

// Shadowed waits until the shadow is as wanted.
func (s *served) Shadowed(wanted func(resources.ShadowStatus) bool) resources.ShadowStatus {
	s.t.Helper()
	var status resources.ShadowStatus
	var body string
	require.Eventually(s.t, func() bool {
		var code int
		code, body = s.Send(http.MethodGet, "/v1/policies/shadow", "", "")
		status = resources.ShadowStatus{}
		return code == http.StatusOK && json.Unmarshal([]byte(body), &status) == nil && wanted(status)
	}, cmdtest.Patience, 10*time.Millisecond, "%s", &body)
	return status
}

// DecideOnce says what is wrong with one answer, "" if nothing is.
func (s *served) DecideOnce(live, candidate string, promoted bool) string {
	response, err := http.Post(s.URL+"/v1/admission/register", "application/json",
		strings.NewReader(`{"workspace": {"id": "00000000-0000-4000-8000-000000000002", "url": "https://agent.example.com"}}`))
	if err != nil {
		return err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	var got Registered
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

// whatIfAnswer is as much of an answer of /v1/evaluate as tests look at.
type whatIfAnswer struct {
	Allowed    bool
	Violations []admission.Violation
	Fired      []struct {
		Rule, File string
		Row        int
	}
	MarksFailed bool `json:"marks_failed"`
	Rules       []admission.RuleExplanation
	Coverage    []admission.FileCoverage
	Revision    string `json:"policy_revision"`
	Code        admission.Code
	Detail      string
}

func (s *served) WhatIf(members string) (int, whatIfAnswer) {
	s.t.Helper()
	status, body := s.Send("POST", "/v1/evaluate",
		`{"hook": "register", "review": {"workspace": {"id": "00000000-0000-4000-8000-000000000002", "url": "https://a.example.com"}}`+members+`}`, "")
	var answer whatIfAnswer
	require.NoError(s.t, json.Unmarshal([]byte(body), &answer), body)
	return status, answer
}
