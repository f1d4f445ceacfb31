package main

import (
	"context"
	"errors"
	"time"

	"gatehouse/adapters/metrics"
	"gatehouse/adapters/opa"
	"gatehouse/server"
)

// livePolicies shows the engine to the server and to the metrics.
type livePolicies struct {
	engine *opa.Engine
}

func (p livePolicies) HasHook(hook string) bool {
	snapshot := p.engine.Status().Snapshot
	return snapshot != nil && snapshot.HasHook(hook)
}

func (p livePolicies) HasCode(code string) bool {
	snapshot := p.engine.Status().Snapshot
	return snapshot != nil && snapshot.HasCode(code)
}

func (p livePolicies) PolicyState() metrics.PolicyState {
	status := p.engine.Status()
	state := metrics.PolicyState{Failures: status.Failures}
	if status.Snapshot != nil {
		state.Revision, state.Source, state.Since = status.Snapshot.Revision(), status.Snapshot.Source(), status.Since
	}
	return state
}

func (p livePolicies) PolicyStatus() server.PolicyStatus {
	status := p.engine.Status()
	if status.Snapshot == nil {
		return server.PolicyStatus{}
	}
	shown := server.PolicyStatus{
		Revision: status.Snapshot.Revision(), Source: status.Snapshot.Source(),
		Since: status.Since.UTC(), AgeSeconds: int64(time.Since(status.Since).Seconds()),
		Hooks: status.Snapshot.Hooks(), Rules: status.Snapshot.Rules(),
	}
	if refused := status.Refused; refused != nil {
		shown.Refused = &server.PolicyRefusal{Source: refused.Source, At: refused.At.UTC(), Reason: refused.Err.Error()}
	}
	return shown
}

func (p livePolicies) ready(context.Context) error {
	if p.engine.Status().Snapshot == nil {
		return errors.New("no policies are live")
	}
	return nil
}
