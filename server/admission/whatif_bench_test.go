package admission_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"gatehouse/server/admission"
)

const benchWorkspace = `{"id": "01890a5d-ac96-774b-bcce-b302099a8057", "url": "https://01890a5d.agents.example.com/a2a", "delivery_mode": "push",
	"mcp_server_present": true, "agent_card": {"name": "Scout", "version": "1.4.2", "description": "Answers questions and files what it learns.",
	"capabilities": {"streaming": true, "pushNotifications": false}, "skills": [{"id": "search", "name": "Search", "tags": ["web", "docs"]}]}}`

const benchFacts = `{"exists": true, "workspace": {"kind": "workspace", "status": "provisioning", "name": "scout", "tier": 1, "runtime": "hermes",
	"role": null, "url": null, "parent_id": null, "workspace_access": "none", "workspace_dir": null, "budget_limit": null, "monthly_spend": 0,
	"delivery_mode": "push", "last_sample_error": null}, "secret_keys": ["MODEL", "OPENAI_API_KEY"], "global_secret_keys": []}`

// BenchmarkDecode is what comes before everything else: strict, and into types.
func BenchmarkDecode(b *testing.B) {
	review := []byte(`{"uid": "req-7", "workspace": ` + benchWorkspace + `}`)
	b.Run("review", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, err := admission.DecodeReview("register", review, admission.DefaultMaxDepth)
			require.NoError(b, err)
		}
	})
	whatIf := []byte(`{"hook": "register", "review": {"workspace": ` + benchWorkspace + `}, "facts": ` + benchFacts + `}`)
	b.Run("what_if", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _, err := admission.DecodeWhatIf(whatIf, admission.DefaultMaxDepth)
			require.NoError(b, err)
		}
	})
	b.Run("url", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			admission.ParseURL("https://01890a5d.agents.example.com/a2a")
		}
	})
}
