package admission

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Deployment is what the operator says of the place that Gatehouse guards.
type Deployment struct {
	SaaS bool `json:"saas"` // workspaces live in private networks: private addresses are allowed
}

// Input is what policies see, the same for live requests, dry runs, replay, audit and tests. Its JSON is
// described by policies/input.schema.json.
type Input struct {
	Hook        string         `json:"hook"`
	DryRun      bool           `json:"dry_run"`
	CallerProof CallerProof    `json:"caller_proof"`
	Request     jsontext.Value `json:"request"`
	Facts       Facts          `json:"facts"`
	URL         URL            `json:"url"`
	Deployment  Deployment     `json:"deployment"`
}

// NewInput puts a review and the facts of its workspace together.
func NewInput(r Review, facts Facts, deployment Deployment) Input {
	return Input{
		Hook: r.Hook, DryRun: r.DryRun, CallerProof: r.CallerProof,
		Request: r.Workspace, Facts: facts, URL: r.URL, Deployment: deployment,
	}
}

// JSON is the input as it is recorded.
func (in Input) JSON() (jsontext.Value, error) {
	return json.Marshal(in)
}
