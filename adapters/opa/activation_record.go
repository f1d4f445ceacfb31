package opa

import (
	"context"
	"time"

	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// Record is one set of policies that became live, or was refused.
type Record struct {
	At             time.Time
	Source         string
	Revision       string               // "" when policies were refused before their content was known
	Reason         string               // why they were refused
	Bundle         *snapshot.BundleInfo // nil unless a bundle became live
	Weaker         []admission.Weakness // how policies that became live hold less than the shipped ones
	WeakerThanLive []admission.Weakness // and than those that were live before
	Remarks        []string             // what an author should know of policies that became live all the same
}

// Recorder hears of activations and refusals, one at a time and in their order; of a refusal that repeats
// itself it hears once. It must not block: policies wait for it.
type Recorder interface {
	PolicyActivated(ctx context.Context, record Record)
	PolicyRefused(ctx context.Context, record Record)
}

type nobody struct{}

func (nobody) PolicyActivated(context.Context, Record) {}
func (nobody) PolicyRefused(context.Context, Record)   {}
