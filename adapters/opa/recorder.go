package opa

import (
	"context"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// Activation is one set of policies that became live, or was refused. It has no ID yet. The rest is of policies that became
// live.
type Activation struct {
	ledger.Activation

	Weaker         []admission.Weakness // how they are weaker than the shipped ones
	WeakerThanLive []admission.Weakness // and than those that were live before
	Remarks        []string             // what an author should know of them
}

// Recorder hears of activations and refusals, one at a time and in their order. It hears only once of a refusal that repeats.
// It must not block: policies wait for it.
type Recorder interface {
	Record(ctx context.Context, activation Activation)
}
