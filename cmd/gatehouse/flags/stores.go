package flags

import (
	"context"

	"github.com/molecule-ai/gatehouse/adapters/decisionlog"
	"github.com/molecule-ai/gatehouse/adapters/migration"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/audit"
	"github.com/molecule-ai/gatehouse/server/httpapi/resources"
	"github.com/molecule-ai/gatehouse/server/shadow"
	"github.com/molecule-ai/gatehouse/server/stream"
)

// Store is what commands need of a store, of either kind.
type Store interface {
	migration.Migrator
	admission.FactsReader
	admission.Ledger
	AuditStore
	DecisionStore
	ShadowSummary(ctx context.Context, pair shadow.Pair, examples int) (shadow.Summary, error)
}

// AuditStore is what audits need of a store.
type AuditStore interface {
	audit.Workspaces
	audit.Runs
	audit.Lock
	resources.AuditReader
	CountWorkspaces(ctx context.Context) (int64, error)
	FactsRevision() string
	LiveRevision(ctx context.Context) (string, error)
}

// DecisionStore is what commands and the server need of a store to show, stream and upload decisions.
type DecisionStore interface {
	resources.DecisionReader
	stream.DecisionStore
	decisionlog.Positions
}
