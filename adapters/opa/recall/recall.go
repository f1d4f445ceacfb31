// Package recall tells an engine which signed bundle was live last, so that an older one is refused also after a restart,
// wherever it comes from.
package recall

import (
	"context"
	"log/slog"
	"time"

	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// History knows what was live before this process.
type History interface {
	LastSigned(ctx context.Context) (*ledger.Bundle, error)
}

const (
	patience = 5 * time.Second // before the server goes on without an answer
	retry    = time.Second
)

// Recall asks a history until it has answered. Signed policies decide nothing until then. That costs nothing: without the store
// no review could be answered anyway.
type Recall struct {
	engine  *opa.Engine
	history History
	log     *slog.Logger
	told    bool
}

// New gives a Recall that has asked nothing yet.
func New(engine *opa.Engine, history History, logger *slog.Logger) *Recall {
	return &Recall{engine: engine, history: history, log: logger}
}

// First asks once. It gives an error if the policies that wait are older than those that were live. It is no error if the
// history does not answer: Run asks again.
func (r *Recall) First(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	last, err := r.history.LastSigned(limited)
	if err != nil {
		r.log.Warn("the store does not say yet which policies were live last; trying again", "error", err)
		return nil
	}
	r.told = true
	return r.engine.Remember(ctx, last)
}

// Run asks until the history has answered or ctx ends. The engine's recorder hears of policies that are refused then.
func (r *Recall) Run(ctx context.Context) {
	for !r.told {
		select {
		case <-ctx.Done():
			return
		case <-time.After(retry):
		}
		last, err := r.history.LastSigned(ctx)
		if err == nil {
			r.told = true
			_ = r.engine.Remember(ctx, last)
		}
	}
}
