package serve

import (
	"context"
	"errors"
	"testing/fstest" // the standard library's file system in memory
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/adapters/opa/check"
	"github.com/molecule-ai/gatehouse/adapters/opa/explain"
	"github.com/molecule-ai/gatehouse/adapters/opa/ports"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/adapters/opa/sources"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi"
	"github.com/molecule-ai/gatehouse/server/replay"
)

// workshop compiles candidate policies for requests that try them.
type workshop struct {
	engine *opa.Engine
	// checking lets one candidate at a time compile: that takes a core for as long as many evaluations, and cannot be
	// interrupted.
	checking *semaphore.Weighted
}

func newWorkshop(engine *opa.Engine) workshop {
	return workshop{engine: engine, checking: semaphore.NewWeighted(1)}
}

// Live implements httpapi.Workshop.
func (w workshop) Live() httpapi.TriedRules {
	live, _ := w.engine.Current().(*snapshot.Snapshot)
	if live == nil {
		return nil
	}
	return triedRules{live}
}

// Candidate implements httpapi.Workshop.
func (w workshop) Candidate(ctx context.Context, files map[string]string) (httpapi.TriedRules, error) {
	fsys := make(fstest.MapFS, len(files))
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o444}
	}
	_, err := check.Read(fsys, sources.DefaultLimits)
	if err != nil {
		return nil, refusedCandidate(err)
	}
	err = w.checking.Acquire(ctx, 1)
	if err != nil {
		return nil, err
	}
	defer w.checking.Release(1)
	candidate, err := w.engine.Candidate(ctx, snapshot.Source{Name: "candidate", FS: fsys})
	switch {
	case err == nil:
		return triedRules{candidate}, nil
	case ctx.Err() != nil:
		return nil, errors.Join(ctx.Err(), err)
	default:
		return nil, refusedCandidate(err)
	}
}

// refusedCandidate tells an author all that is wrong with the texts that they sent.
func refusedCandidate(err error) error {
	return admission.Malformed("the candidate is refused: " + err.Error())
}

type triedRules struct{ *snapshot.Snapshot }

// Explanation implements httpapi.TriedRules.
func (t triedRules) Explanation(ctx context.Context, in admission.Input, at time.Time) (admission.Explanation, error) {
	explained, err := explain.Review(ctx, t.Snapshot, in, at)
	return explained.Explanation, err
}

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
