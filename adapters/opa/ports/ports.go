// Package ports gives compiled policies the forms in which audits and replays take them.
package ports

import (
	"context"

	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/server/audit"
	"github.com/molecule-ai/gatehouse/server/replay"
)

// Audit gives policies for an audit, nil if there is no snapshot.
func Audit(snapshot *snapshot.Snapshot) audit.Ruleset {
	if snapshot == nil {
		return nil
	}
	return auditRules{snapshot.Checked()}
}

// auditRules are policies for an audit, which has the time to decide by both evaluators.
type auditRules struct{ snapshot.Checked }

// OfStored implements audit.Ruleset.
func (r auditRules) OfStored(ctx context.Context, hook string, known []string) (audit.Stored, error) {
	rules, read, notJudged, err := r.Snapshot.OfStored(ctx, hook, known)
	if err != nil {
		return audit.Stored{}, err
	}
	return audit.Stored{Rules: rules.Checked(), Read: read, NotJudged: notJudged}, nil
}

// Replay gives policies for a replay.
func Replay(snapshot *snapshot.Snapshot) replay.Candidate {
	return replay.Candidate{Rules: snapshot.Checked(), Revision: snapshot.Revision(), Source: snapshot.Source()}
}
