package rig

import (
	"fmt"

	"github.com/google/uuid"
)

// Workspace is one of those that are asked for.
type Workspace struct {
	ID      uuid.UUID
	Runtime string
	Tier    int
	Secrets []string
}

const (
	highestTier = 4 // of bench/policy/data.yaml
	DenyEvery   = 8 // one in so many workspaces is denied, without effect
)

// MixedWorkspaces are enough to be different from request to request.
const MixedWorkspaces = 256

// Where the ids of each group begin.
const (
	mixedFrom   = 0
	failingFrom = 1_000_000
	ManyFrom    = 2_000_000
)

// Mixed are workspaces of which most are allowed.
func Mixed() []Workspace {
	all := make([]Workspace, MixedWorkspaces)
	for i := range all {
		all[i] = Workspace{ID: numbered(mixedFrom + i), Runtime: "hermes", Tier: 1 + i%highestTier, Secrets: []string{"MODEL", "OPENAI_API_KEY"}}
		if i%DenyEvery == 0 {
			all[i].Tier = highestTier + 1
		}
	}
	return all
}

// Failing are workspaces whose deny marks them failed: their runtime needs a secret that they lack.
func Failing(n int) []Workspace {
	all := make([]Workspace, n)
	for i := range all {
		all[i] = Workspace{ID: numbered(failingFrom + i), Runtime: "langgraph", Tier: 1}
	}
	return all
}

// Spread are n of the allowed workspaces that the database makes by itself from ManyFrom on, evenly from the first to
// the last.
func Spread(n, among int) []Workspace {
	all := make([]Workspace, n)
	for i := range all {
		all[i] = Workspace{ID: numbered(ManyFrom + i*(among/n)), Runtime: "hermes", Tier: 1}
	}
	return all
}

func numbered(i int) uuid.UUID {
	return uuid.MustParse(fmt.Sprintf("01890a5d-ac96-774b-8000-%012x", i))
}

// URL is where the workspace says that it is reached.
func (w Workspace) URL() string { return fmt.Sprintf("https://%s.agents.example.com/a2a", w.ID) }

// Request is what the registry has bound.
func (w Workspace) Request() map[string]any {
	return map[string]any{
		"id": w.ID, "url": w.URL(), "delivery_mode": "push", "mcp_server_present": true,
		"agent_card": map[string]any{
			"name": "Agent of " + w.ID.String(), "version": "1.4.2", "description": "Answers questions and files what it learns.",
			"capabilities": map[string]any{"streaming": true, "pushNotifications": false},
			"skills":       []any{map[string]any{"id": "search", "name": "Search", "tags": []string{"web", "docs"}}},
		},
	}
}

// ReviewPath is where a registration is reviewed.
const ReviewPath = "/v1/admission/register"

// Review is the body of a registration.
func Review(w Workspace) any { return map[string]any{"workspace": w.Request()} }

// Each makes one body of each workspace.
func Each(all []Workspace, body func(Workspace) any) []any {
	bodies := make([]any, len(all))
	for i, w := range all {
		bodies[i] = body(w)
	}
	return bodies
}
