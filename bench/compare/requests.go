//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// workspace is one of those that are asked for.
type workspace struct {
	ID      uuid.UUID
	Runtime string
	Tier    int
	Secrets []string
}

const (
	highestTier = 4 // of bench/policy/data.yaml
	denyEvery   = 8 // one in so many workspaces is denied, without effect
)

// mixedWorkspaces are enough to be different from request to request.
const mixedWorkspaces = 256

// Where the ids of each group begin.
const (
	mixedFrom   = 0
	failingFrom = 1_000_000
	manyFrom    = 2_000_000
)

// mixed are workspaces of which most are allowed.
func mixed() []workspace {
	all := make([]workspace, mixedWorkspaces)
	for i := range all {
		all[i] = workspace{ID: numbered(mixedFrom + i), Runtime: "hermes", Tier: 1 + i%highestTier, Secrets: []string{"MODEL", "OPENAI_API_KEY"}}
		if i%denyEvery == 0 {
			all[i].Tier = highestTier + 1
		}
	}
	return all
}

// failing are workspaces whose deny marks them failed: their runtime needs a secret that they lack.
func failing(n int) []workspace {
	all := make([]workspace, n)
	for i := range all {
		all[i] = workspace{ID: numbered(failingFrom + i), Runtime: "langgraph", Tier: 1}
	}
	return all
}

// spread are n of the allowed workspaces that the database makes by itself, evenly from the first to the last.
func spread(n, among int) []workspace {
	all := make([]workspace, n)
	for i := range all {
		all[i] = workspace{ID: numbered(manyFrom + i*(among/n)), Runtime: "hermes", Tier: 1}
	}
	return all
}

func numbered(i int) uuid.UUID {
	return uuid.MustParse(fmt.Sprintf("01890a5d-ac96-774b-8000-%012x", i))
}

func (w workspace) url() string { return fmt.Sprintf("https://%s.agents.example.com/a2a", w.ID) }

// request is what the registry has bound.
func (w workspace) request() map[string]any {
	return map[string]any{
		"id": w.ID, "url": w.url(), "delivery_mode": "push", "mcp_server_present": true,
		"agent_card": map[string]any{
			"name": "Agent of " + w.ID.String(), "version": "1.4.2", "description": "Answers questions and files what it learns.",
			"capabilities": map[string]any{"streaming": true, "pushNotifications": false},
			"skills":       []any{map[string]any{"id": "search", "name": "Search", "tags": []string{"web", "docs"}}},
		},
	}
}

// facts is what the facts query gives of it.
func (w workspace) facts() map[string]any {
	return map[string]any{
		"exists": true, "secret_keys": w.Secrets, "global_secret_keys": []string{},
		"workspace": map[string]any{
			"kind": "workspace", "status": "provisioning", "name": "agent", "tier": w.Tier, "runtime": w.Runtime, "role": nil,
			"url": nil, "parent_id": nil, "workspace_access": "none", "workspace_dir": nil, "budget_limit": nil,
			"monthly_spend": 0, "delivery_mode": "push", "last_sample_error": nil,
		},
	}
}

// whatIf is a review with its facts, as POST /v1/evaluate takes it.
func (w workspace) whatIf() map[string]any {
	return map[string]any{"review": map[string]any{"workspace": w.request()}, "facts": w.facts()}
}

// opaInput is the input that Gatehouse would make of the same, for a server that takes it ready-made.
func (w workspace) opaInput() map[string]any {
	return map[string]any{
		"hook": "register", "dry_run": false, "caller_proof": "token", "request": w.request(), "facts": w.facts(),
		"url": map[string]any{
			"valid": true, "scheme": "https", "host": strings.TrimSuffix(strings.TrimPrefix(w.url(), "https://"), "/a2a"),
			"ip": "", "port": 443, "userinfo": false,
		},
		"deployment": map[string]any{"saas": false},
	}
}

// posts makes one HTTP request of each body.
func posts(path string, bodies []any) ([][]byte, error) {
	requests := make([][]byte, len(bodies))
	for i, body := range bodies {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", path, len(text))
		requests[i] = append([]byte(head), text...)
	}
	return requests, nil
}

const (
	evaluatePath = "/v1/evaluate"
	batchPath    = "/v1/evaluate/batch"
	reviewPath   = "/v1/admission/register"
	opaPath      = "/v1/data/admission/register/deny"
)

func each(all []workspace, body func(workspace) any) []any {
	bodies := make([]any, len(all))
	for i, w := range all {
		bodies[i] = body(w)
	}
	return bodies
}

func evaluations(all []workspace) ([][]byte, error) {
	return posts(evaluatePath, each(all, func(w workspace) any {
		body := w.whatIf()
		body["hook"] = "register"
		return body
	}))
}

func evaluationBatches(all []workspace, size int) ([][]byte, error) {
	var bodies []any
	for start := 0; start+size <= len(all); start += size {
		bodies = append(bodies, map[string]any{
			"hook": "register", "reviews": each(all[start:start+size], func(w workspace) any { return w.whatIf() }),
		})
	}
	return posts(batchPath, bodies)
}

func reviews(all []workspace) ([][]byte, error) {
	return posts(reviewPath, each(all, func(w workspace) any { return map[string]any{"workspace": w.request()} }))
}

func opaQueries(all []workspace) ([][]byte, error) {
	return posts(opaPath, each(all, func(w workspace) any { return map[string]any{"input": w.opaInput()} }))
}
