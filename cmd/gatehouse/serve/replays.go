package serve

import (
	"context"

	"github.com/molecule-ai/gatehouse/adapters/opa/ports"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/replay"
)

// replayPolicies gives the server's replays their candidates.
type replayPolicies struct {
	workshop
	candidates *rollout
}

// ReplayLive implements server.ReplayPolicies.
func (p replayPolicies) ReplayLive() (replay.Candidate, error) {
	live, _ := p.engine.Current().(*snapshot.Snapshot)
	if live == nil {
		return replay.Candidate{}, &admission.Error{Code: admission.CodeNotReady, Detail: "no policies are active"}
	}
	return ports.Replay(live), nil
}

// ReplayShadow implements server.ReplayPolicies.
func (p replayPolicies) ReplayShadow() (replay.Candidate, error) {
	candidate := p.candidates.Candidate()
	if candidate == nil {
		return replay.Candidate{}, &admission.Error{Code: admission.CodeNoCandidate, Detail: "this server has no candidate policies"}
	}
	snapshot, _ := candidate.Rules.(*snapshot.Snapshot) // load gave it one
	return ports.Replay(snapshot), nil
}

// ReplayFiles implements server.ReplayPolicies.
func (p replayPolicies) ReplayFiles(ctx context.Context, files map[string]string) (replay.Candidate, error) {
	tried, err := p.Candidate(ctx, files)
	if err != nil {
		return replay.Candidate{}, err
	}
	rules, _ := tried.(triedRules) // Candidate gave one
	return ports.Replay(rules.Snapshot), nil
}
