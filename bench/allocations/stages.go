package allocations

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/adapters/opa/explain"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/internal/groupcommit"
	"github.com/molecule-ai/gatehouse/policies"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
	"github.com/molecule-ai/gatehouse/server/httpapi"
	"github.com/molecule-ai/gatehouse/server/httpapi/auth"
)

// stage is a part of a review's way. Run does it once, for the nth time.
type stage struct {
	Name string
	Run  func(n int) error
}

const (
	workspace = `{"id": "01890a5d-ac96-774b-bcce-b302099a8057", "url": "https://01890a5d.agents.example.com/a2a", "delivery_mode": "push",
		"mcp_server_present": true, "agent_card": {"name": "Scout", "version": "1.4.2", "capabilities": {"streaming": true},
		"skills": [{"id": "search", "name": "Search", "tags": ["web", "docs"]}]}}`
	stored = `{"kind": "workspace", "status": "provisioning", "name": "scout", "tier": 1, "runtime": "hermes", "role": null, "url": null,
		"parent_id": null, "workspace_access": "none", "workspace_dir": null, "budget_limit": null, "monthly_spend": 0,
		"delivery_mode": "push", "last_sample_error": null}`
	review = `{"workspace": ` + workspace + `}`
	whatIf = `{"hook": "register", "review": ` + review + `, "facts": {"exists": true, "workspace": ` + stored + `, "secret_keys": ["MODEL"]}}`
)

// newStages makes the stages. Files are made in folder; close ends what the stages have begun.
func newStages(ctx context.Context, folder string) (stages []stage, close func() error, err error) {
	schema, err := fs.ReadFile(policies.FS, "input.schema.json")
	if err != nil {
		return nil, nil, err
	}
	snapshot, err := snapshot.New(ctx, snapshot.Source{Name: "embedded", FS: policies.FS}, schema)
	if err != nil {
		return nil, nil, err
	}
	asked, err := decode.Review("register", []byte(review), decode.DefaultMaxDepth)
	if err != nil {
		return nil, nil, err
	}
	allowed, err := newInput(asked, stored, "MODEL")
	if err != nil {
		return nil, nil, err
	}
	denied, err := newInput(asked, `{"kind": "platform", "status": "online", "tier": 1}`)
	if err != nil {
		return nil, nil, err
	}
	decision, err := decide(ctx, snapshot, allowed)
	if err != nil {
		return nil, nil, err
	}
	store, err := openStore(ctx, folder, asked.WorkspaceID)
	if err != nil {
		return nil, nil, err
	}
	group := groupcommit.New(groupcommit.Options{}, func(_ context.Context, batch []int) ([]int, error) { return batch, nil })
	service := newService(snapshot, decision)
	stages = []stage{
		{"decode/review", func(int) error {
			_, err := decode.Review("register", []byte(review), decode.DefaultMaxDepth)
			return err
		}},
		{"decode/what_if", func(int) error {
			_, err := decode.WhatIf([]byte(whatIf), decode.DefaultMaxDepth)
			return err
		}},
		{"decode/url", func(int) error { decode.ParseURL("https://01890a5d.agents.example.com/a2a"); return nil }},
		{"evaluate/allow", func(int) error { return evaluate(ctx, snapshot, allowed, true) }},
		{"evaluate/deny", func(int) error { return evaluate(ctx, snapshot, denied, false) }},
		{"mask", func(int) error { _, err := snapshot.Mask(ctx, decision, allowed); return err }},
		{"facts/sqlite", func(int) error { _, err := store.Facts(ctx, asked.WorkspaceID); return err }},
		{"record/sqlite", func(int) error { return record(ctx, store, decision) }},
		{"group_commit", func(n int) error { _, err := group.Do(ctx, n); return err }},
		{"http/review", func(int) error { return post(service, "/v1/admission/register", review) }},
		{"http/evaluate", func(int) error { return post(service, "/v1/evaluate", whatIf) }},
	}
	return stages, func() error { group.Close(); return store.Close() }, nil
}

func newInput(asked admission.Review, row string, keys ...string) (admission.Input, error) {
	facts, err := admission.NewFacts(true, []byte(row), keys, nil)
	return admission.NewInput(asked, facts, admission.Deployment{}), err
}

func evaluate(ctx context.Context, snapshot *snapshot.Snapshot, in admission.Input, allowed bool) error {
	verdict, err := snapshot.Evaluate(ctx, in, time.Unix(0, 0))
	if err == nil && verdict.Allowed() != allowed {
		err = fmt.Errorf("the policies say %t", verdict.Allowed())
	}
	return err
}

// decide makes a decision as a gate does.
func decide(ctx context.Context, snapshot *snapshot.Snapshot, in admission.Input) (admission.Decision, error) {
	now := time.Now().UTC().Truncate(time.Microsecond)
	id, err := admission.NewDecisionID(now)
	if err != nil {
		return admission.Decision{}, err
	}
	decision := admission.Decision{ID: id, At: now, Hook: in.Hook, CallerProof: in.CallerProof, WorkspaceID: uuid.New(), Kind: "workspace"}
	decision.Verdict, err = snapshot.Evaluate(ctx, in, now)
	if err != nil {
		return admission.Decision{}, err
	}
	kept, err := snapshot.Mask(ctx, decision, in)
	decision.Input, decision.Redaction = kept.JSON, kept.Redaction
	return decision, err
}

func openStore(ctx context.Context, folder string, id uuid.UUID) (*sqlite.Store, error) {
	store, err := sqlite.Open(ctx, sqlite.Options{Path: filepath.Join(folder, "stages.db")})
	if err != nil {
		return nil, err
	}
	err = store.Migrate(ctx)
	if err == nil {
		err = store.PutWorkspace(ctx, id, admission.Workspace{Name: "scout", Kind: "workspace"})
	}
	if err == nil {
		err = store.PutSecretKey(ctx, id, "MODEL")
	}
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return store, nil
}

func record(ctx context.Context, store *sqlite.Store, decision admission.Decision) error {
	id, err := admission.NewDecisionID(decision.At)
	if err != nil {
		return err
	}
	decision.ID = id
	_, err = store.Record(ctx, decision)
	return err
}

// newService is the HTTP service with real policies and a reviewer that has decided.
func newService(snapshot *snapshot.Snapshot, decision admission.Decision) http.Handler {
	return httpapi.New(httpapi.Options{
		Reviewer: decided{decision}, Authenticator: &auth.Authenticator{}, Observer: nobody{}, Metrics: http.NotFoundHandler(),
		Logger:         slog.New(slog.DiscardHandler),
		RequestTimeout: time.Minute, MaxBodyBytes: 1 << 20, MaxBatchBytes: 1 << 20, MaxDepth: decode.DefaultMaxDepth,
		MaxInFlight: 1, BatchParallel: 1,
		WhatIf: httpapi.WhatIfOptions{Policies: live{snapshot}, Evaluator: admission.Evaluator{Timeout: time.Minute}},
	})
}

type decided struct{ decision admission.Decision }

func (d decided) Review(context.Context, admission.Review) (admission.Decision, error) {
	return d.decision, nil
}

type nobody struct{}

func (nobody) Served(string, string, int, time.Duration) {}

// live gives one snapshot to what-ifs, and takes no candidates.
type live struct{ *snapshot.Snapshot }

func (l live) Live() httpapi.TriedRules { return l }

func (live) Candidate(context.Context, map[string]string) (httpapi.TriedRules, error) {
	return nil, errors.New("no candidates here")
}

func (l live) Explanation(ctx context.Context, in admission.Input, at time.Time) (admission.Explanation, error) {
	explained, err := explain.Review(ctx, l.Snapshot, in, at)
	return explained.Explanation, err
}

// post is a request without a network.
func post(handler http.Handler, path, body string) error {
	recorder := withDeadlines{httptest.NewRecorder()}
	request := httptest.NewRequest(http.MethodPost, path, bytes.NewReader([]byte(body)))
	request.Header.Set("Content-Type", "application/json")
	handler.ServeHTTP(recorder, request)
	if recorder.Code != http.StatusOK {
		text, _ := io.ReadAll(recorder.Body)
		return fmt.Errorf("%d %s", recorder.Code, text)
	}
	return nil
}

type withDeadlines struct{ *httptest.ResponseRecorder }

func (withDeadlines) SetReadDeadline(time.Time) error { return nil }
