package compare

import (
	"slices"
	"strings"

	"github.com/molecule-ai/gatehouse/bench/rig"
)

// facts is what the facts query gives of a workspace.
func facts(w rig.Workspace) map[string]any {
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
func whatIf(w rig.Workspace) map[string]any {
	return map[string]any{"review": map[string]any{"workspace": w.Request()}, "facts": facts(w)}
}

// opaInput is the input that Gatehouse would make of the same, for a server that takes it ready-made.
func opaInput(w rig.Workspace) map[string]any {
	return map[string]any{
		"hook": "register", "dry_run": false, "caller_proof": "token", "request": w.Request(), "facts": facts(w),
		"url": map[string]any{
			"valid": true, "scheme": "https", "host": strings.TrimSuffix(strings.TrimPrefix(w.URL(), "https://"), "/a2a"),
			"ip": "", "port": 443, "userinfo": false,
		},
		"deployment": map[string]any{"saas": false},
	}
}

// question is what OPA is asked.
func question(w rig.Workspace) any { return map[string]any{"input": opaInput(w)} }

// evaluation is a what-if of one.
func evaluation(w rig.Workspace) any {
	body := whatIf(w)
	body["hook"] = "register"
	return body
}

// evaluationBatches goes through all as often as it takes for no batch to be left half full, so that as many of what is
// asked are to be denied as of all.
func evaluationBatches(all []rig.Workspace, size int) []any {
	var turns []rig.Workspace
	for len(turns) == 0 || len(turns)%size != 0 {
		turns = append(turns, all...)
	}
	var bodies []any
	for batch := range slices.Chunk(turns, size) {
		bodies = append(bodies, map[string]any{
			"hook": "register", "reviews": rig.Each(batch, func(w rig.Workspace) any { return whatIf(w) }),
		})
	}
	return bodies
}
