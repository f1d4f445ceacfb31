package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi"
	"github.com/molecule-ai/gatehouse/server/httpapi/auth"
	"github.com/molecule-ai/gatehouse/server/httpapi/resources"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen; only a test that fails spends it.
const patience = 30 * time.Second

const (
	workspaceID = "01890a5d-ac96-774b-bcce-b302099a8057"
	decisionID  = "01890a5d-ac96-774b-bcce-b302099a8058"
	eventID     = "01890a5d-ac96-774b-bcce-b302099a8059"
)

const registerBody = `{"workspace": {"id": "` + workspaceID + `", "url": "https://agent.example.com"}}`

// reviewer is a Reviewer made of a func.
type reviewer func(ctx context.Context, r admission.Review) (admission.Decision, error)

func (f reviewer) Review(ctx context.Context, r admission.Review) (admission.Decision, error) {
	return f(ctx, r)
}

func allow(_ context.Context, r admission.Review) (admission.Decision, error) {
	return admission.Decision{
		ID: uuid.MustParse(decisionID), UID: r.UID, Hook: r.Hook, WorkspaceID: r.WorkspaceID,
		Verdict: admission.Verdict{Revision: "sha256:0011"},
	}, nil
}

// deny marks the workspace failed and makes an event, unless the review is a dry run.
func deny(_ context.Context, r admission.Review) (admission.Decision, error) {
	d := admission.Decision{
		ID: uuid.MustParse(decisionID), At: time.Date(2026, 4, 1, 12, 0, 0, 5000, time.UTC),
		UID: r.UID, Hook: r.Hook, WorkspaceID: r.WorkspaceID, DryRun: r.DryRun,
		Verdict: admission.NewVerdict([]admission.Violation{
			violation("TIER_INVALID", admission.Low, admission.Warn),
			violation("URL_UNSAFE", admission.High, admission.Audit),
			identityGate,
		}, "sha256:0011"),
	}
	if r.DryRun {
		return d, nil
	}
	err := d.Mark()
	if err == nil {
		d.Event.ID = uuid.MustParse(eventID)
	}
	return d, err
}

var identityGate = admission.Violation{
	Rule: "platform_requires_model", Code: "PLATFORM_AGENT_IDENTITY_GATE", Reason: "model_missing",
	Message: "The platform agent has no MODEL secret of its own.", Severity: admission.Critical,
	Enforcement: admission.Deny, Status: 400, MarkFailed: true, Answer: "platform agent identity incomplete",
}

func violation(code string, severity admission.Severity, enforcement admission.Enforcement) admission.Violation {
	rule := strings.ToLower(code)
	return admission.Violation{
		Rule: rule, Code: code, Reason: rule, Message: "It is " + rule + ".", Severity: severity, Enforcement: enforcement, Status: 400,
	}
}

func failing(err error) reviewer {
	return func(context.Context, admission.Review) (admission.Decision, error) { return admission.Decision{}, err }
}

// service is a Server behind a real loopback listener, with what it logged and observed.
type service struct {
	*httptest.Server
	t        *testing.T
	server   *httpapi.Server
	log      *lines
	observed *observations
}

func serve(t *testing.T, change func(*httpapi.Options)) *service {
	t.Helper()
	s := &service{t: t, log: &lines{}, observed: &observations{}}
	store := &memory{known: map[uuid.UUID]bool{uuid.MustParse(workspaceID): true}}
	options := httpapi.Options{
		Reviewer: reviewer(allow), Policies: catalogue{Revision: "sha256:0011"}, Workspaces: store, SecretKeys: store,
		Authenticator: &auth.Authenticator{}, Observer: s.observed,
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "up 1\n") }),
		Ready:   func(context.Context) error { return nil },
		Logger:  s.log.logger(), RequestTimeout: patience, MaxBodyBytes: 1 << 20, MaxBatchBytes: 16 << 20, MaxDepth: 64,
		MaxInFlight: 16, BatchParallel: 4, WhatIf: whatIfs(),
	}
	if change != nil {
		change(&options)
	}
	s.server = httpapi.New(options)
	s.Server = httptest.NewUnstartedServer(s.server)
	s.Listener = s.server.Listener(s.Listener)
	s.Config.MaxHeaderBytes = 32 << 10
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func serveReviewer(t *testing.T, review reviewer) *service {
	t.Helper()
	return serve(t, func(o *httpapi.Options) { o.Reviewer = review })
}

// answered is what came back over the wire.
type answered struct {
	status int
	header http.Header
	body   string
}

// send sends body as JSON unless headers, given as name and value in turn, say otherwise. A header without a
// value is left out.
func (s *service) send(method, path, body string, headers ...string) answered {
	s.t.Helper()
	got, err := s.attempt(method, path, body, headers...)
	require.NoError(s.t, err)
	return got
}

// attempt is send for goroutines, which must not end a test.
func (s *service) attempt(method, path, body string, headers ...string) (answered, error) {
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.URL+path, reader)
	if err != nil {
		return answered{}, err
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] == "" {
			request.Header.Del(headers[i])
			continue
		}
		request.Header.Set(headers[i], headers[i+1])
	}
	return s.exchange(request)
}

func (s *service) do(request *http.Request) answered {
	s.t.Helper()
	got, err := s.exchange(request)
	require.NoError(s.t, err)
	return got
}

func (s *service) exchange(request *http.Request) (answered, error) {
	response, err := s.Client().Do(request)
	if err != nil {
		return answered{}, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return answered{response.StatusCode, response.Header, string(body)}, err
}

func (s *service) register(body string, headers ...string) answered {
	s.t.Helper()
	return s.send(http.MethodPost, "/v1/admission/register", body, headers...)
}

func (s *service) relay(body string, headers ...string) answered {
	s.t.Helper()
	return s.send(http.MethodPost, "/registry/register", body, headers...)
}

// requireProblem checks an error answer's form and gives its detail.
func requireProblem(t *testing.T, got answered, status int, code admission.Code) string {
	t.Helper()
	require.Equal(t, status, got.status, got.body)
	require.Equal(t, "application/problem+json", got.header.Get("Content-Type"))
	require.Equal(t, "no-store", got.header.Get("Cache-Control"))
	var members map[string]any
	require.NoError(t, json.Unmarshal([]byte(got.body), &members), got.body)
	detail, _ := members["detail"].(string)
	delete(members, "detail")
	require.Equal(t, map[string]any{
		"type": "about:blank", "title": http.StatusText(status), "status": float64(status), "code": string(code),
	}, members)
	require.NotContains(t, got.body, `"allowed":true`)
	return detail
}

// raw opens a connection that sends what it is given, as slow or broken clients do.
func (s *service) raw(text string) net.Conn {
	s.t.Helper()
	connection, err := net.Dial("tcp", s.Listener.Addr().String())
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = connection.Close() })
	require.NoError(s.t, connection.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(connection, text)
	require.NoError(s.t, err)
	return connection
}

// lines collects log lines.
type lines struct {
	mutex  sync.Mutex
	buffer bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.buffer.Write(p)
}

func (l *lines) String() string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.buffer.String()
}

func (l *lines) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// with gives the lines that have this message.
func (l *lines) with(t *testing.T, message string) []map[string]any {
	t.Helper()
	var found []map[string]any
	for line := range strings.Lines(l.String()) {
		var members map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &members), line)
		if members["msg"] == message {
			found = append(found, members)
		}
	}
	return found
}

type observation struct {
	route, method string
	status        int
}

type observations struct {
	mutex sync.Mutex
	seen  []observation
}

func (o *observations) Served(route, method string, status int, _ time.Duration) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.seen = append(o.seen, observation{route, method, status})
}

func (o *observations) all() []observation {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return append([]observation{}, o.seen...)
}

type catalogue resources.PolicyStatus

func (c catalogue) PolicyStatus() resources.PolicyStatus {
	c.Evaluator = "fast-path"
	return resources.PolicyStatus(c)
}

// memory is the store of a registry whose database is not shared. It notes every call.
type memory struct {
	mutex sync.Mutex
	known map[uuid.UUID]bool
	calls []string
	last  admission.Workspace
	fail  error
}

func (m *memory) note(call string, id uuid.UUID, known bool) error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.calls = append(m.calls, call)
	if m.fail != nil {
		return m.fail
	}
	if known && !m.known[id] {
		return resources.ErrUnknownWorkspace
	}
	return nil
}

func (m *memory) noted() []string {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return append([]string{}, m.calls...)
}

func (m *memory) PutWorkspace(_ context.Context, id uuid.UUID, workspace admission.Workspace) error {
	m.mutex.Lock()
	m.last = workspace
	m.mutex.Unlock()
	return m.note("put "+id.String(), id, false)
}

func (m *memory) DeleteWorkspace(_ context.Context, id uuid.UUID) error {
	return m.note("delete "+id.String(), id, false)
}

func (m *memory) PutSecretKey(_ context.Context, id uuid.UUID, key string) error {
	return m.note("put "+id.String()+" "+key, id, true)
}

func (m *memory) DeleteSecretKey(_ context.Context, id uuid.UUID, key string) error {
	return m.note("delete "+id.String()+" "+key, id, false)
}

var errHidden = errors.New("dial db-1.internal: password hunter2 refused")
