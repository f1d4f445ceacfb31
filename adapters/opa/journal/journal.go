// Package journal records which policies became live or were refused.
package journal

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// Journal records which policies became live or were refused: in the log at once, and in the store as soon as it can be
// written. Policies do not wait for the store.
type Journal struct {
	log     *slog.Logger
	pending chan ledger.Activation
}

// maxPendingActivations is for a store that is away for long. Activations beyond that are only in the log.
const maxPendingActivations = 256

// New gives a journal. Its Run stores what it records.
func New(logger *slog.Logger) *Journal {
	return &Journal{log: logger, pending: make(chan ledger.Activation, maxPendingActivations)}
}

// Record implements opa.Recorder.
func (j *Journal) Record(_ context.Context, activation opa.Activation) {
	if activation.Activated {
		j.tell(activation)
	} else {
		j.log.Error("policies were refused; those that were live stay",
			"source", activation.Source, "policy_revision", activation.Revision, "error", activation.Reason)
	}
	var err error
	activation.ID, err = uuid.NewV7()
	if err != nil {
		j.log.Error("an activation of policies is not stored", "error", err)
		return
	}
	j.queue(activation.Activation)
}

// tell logs policies that became live.
func (j *Journal) tell(activation opa.Activation) {
	attributes := []any{"source", activation.Source, "policy_revision", activation.Revision}
	if bundle := activation.Bundle; bundle != nil {
		attributes = append(attributes, "bundle_revision", bundle.Revision, "built_at", bundle.BuiltAt, "signed_by", bundle.SignedBy)
	}
	if len(activation.Remarks) > 0 {
		attributes = append(attributes, "remarks", activation.Remarks)
	}
	j.log.Info("policies are live", attributes...)
	if len(activation.Weaker) > 0 {
		j.log.Warn("the live policies are weaker than those that are shipped", "policy_revision", activation.Revision, "weaker", lines(activation.Weaker))
	}
	if len(activation.WeakerThanLive) > 0 {
		j.log.Warn("the live policies are weaker than those that were live before", "policy_revision", activation.Revision, "weaker", lines(activation.WeakerThanLive))
	}
}

// lines gives weaknesses as texts.
func lines(weaker []admission.Weakness) []string {
	texts := make([]string, 0, len(weaker))
	for _, one := range weaker {
		texts = append(texts, one.String())
	}
	return texts
}

// Store keeps activations.
type Store interface {
	RecordActivation(ctx context.Context, activation ledger.Activation) error
}

// retryActivation is how long to wait for a store whose tables are perhaps not there yet.
const retryActivation = time.Second

// lastActivations is how long a server that stops takes for what is not stored yet.
const lastActivations = 2 * time.Second

// Run writes activations into the store until ctx ends. Then it writes those that are left.
func (j *Journal) Run(ctx context.Context, store Store) {
	for {
		select {
		case <-ctx.Done():
			j.writeRest(ctx, store)
			return
		case activation := <-j.pending:
			j.write(ctx, store, activation)
		}
	}
}

func (j *Journal) writeRest(ctx context.Context, store Store) {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastActivations)
	defer cancel()
	for {
		select {
		case activation := <-j.pending:
			err := store.RecordActivation(limited, activation)
			if err != nil {
				j.log.Warn("an activation of policies is not stored", "policy_revision", activation.Revision, "error", err)
			}
		default:
			return
		}
	}
}

// write tries until ctx ends, and then puts the activation back. The store may have it all the same.
func (j *Journal) write(ctx context.Context, store Store, activation ledger.Activation) {
	said := false
	for {
		err := store.RecordActivation(ctx, activation)
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			j.queue(activation)
			return
		}
		if !said {
			j.log.Warn("an activation of policies is not stored yet", "policy_revision", activation.Revision, "error", err)
			said = true
		}
		timer := time.NewTimer(retryActivation)
		select {
		case <-ctx.Done():
			timer.Stop()
			j.queue(activation)
			return
		case <-timer.C:
		}
	}
}

func (j *Journal) queue(activation ledger.Activation) {
	select {
	case j.pending <- activation:
	default:
		j.log.Warn("an activation of policies is not stored: too many wait for the store", "policy_revision", activation.Revision)
	}
}
